"""The network of the Llama, Qwen2 and Qwen3 family, over an object that has its operations.

    operations = ReferenceOperations(QuantizedWeights(model), capacity=512)
    transformer = Transformer(operations)
    logits = transformer.logits(ids, AttentionStep.prefill([n]))      # ids int [1, n]
    logits = transformer.logits(next_id, AttentionStep.decode([n]))   # ids int [1, 1]

`Transformer` says which operation follows which. `Operations` says what they are: NumPy here, the
plugins in `runtime`. Activations between operations have one dtype: float16 as in an engine, or
float32 to judge what float16 and INT4 cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from edge_llm_plugins import quantization, reference
from edge_llm_plugins.models.steps import AttentionStep

if TYPE_CHECKING:
    from edge_llm_plugins.models.checkpoints import Checkpoint
    from edge_llm_plugins.models.config import ModelConfig
    from edge_llm_plugins.models.folder import QuantizedModel

__all__ = [
    "AttentionStep",
    "CheckpointWeights",
    "NumpyOperations",
    "Operations",
    "QuantizedWeights",
    "ReferenceOperations",
    "Transformer",
    "Weights",
    "parts",
    "perplexity",
]

FUSED = {  # the parts of a fused layer, in the order of their rows
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}


def parts(prefix: str) -> list[str]:
    """The prefixes of a checkpoint's linear layers whose rows make up a network's layer."""
    parent, _, name = prefix.rpartition(".")
    return [f"{parent}.{part}" for part in FUSED.get(name, (name,))]


class Operations(Protocol):
    """What the network calls. Arrays are NumPy's; activations are float16 (or float32) throughout.

    A `prefix` names a layer as Hugging Face does, without ".weight": model.layers.0.mlp.down_proj.
    """

    config: ModelConfig

    def embed(self, token_ids: NDArray[np.integer]) -> NDArray:
        """int [B, S] to [B, S, hidden size]."""

    def rms_norm(self, prefix: str, x: NDArray) -> NDArray:
        """Over the last dimension of x; the result is rounded once."""

    def linear(self, prefix: str, x: NDArray) -> NDArray:
        """[B, S, K] to [B, S, N], without the bias."""

    def bias(self, prefix: str) -> NDArray | None:
        """[N], or None."""

    def attention(self, layer: int, qkv: NDArray, step: AttentionStep) -> NDArray:
        """RoPE, KV cache and attention: [B, S, (Hq + 2 Hkv) D] to [B, S, Hq, D].

        The object owns the caches.
        """

    def silu_mul(self, gate_up: NDArray) -> NDArray:
        """SiLU(gate) * up: [B, S, 2 I], gate first, to [B, S, I]; the result is rounded once."""

    def lm_head(self, x: NDArray) -> NDArray[np.float32]:
        """[B, L, hidden size] to float32 logits [B, L, vocabulary]."""


class Transformer:
    """The network. It has no state; the KV caches belong to the operations."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations
        self.config = operations.config

    def logits(
        self, token_ids: ArrayLike, step: AttentionStep, indices: ArrayLike | None = None
    ) -> NDArray[np.float32]:
        """Runs one step.

        Args:
          token_ids: int [B, S]; padding tokens may have any id of the vocabulary.
          step: what the step does with the caches.
          indices: int [B, L], the tokens of each row whose logits are wanted, as
            `AttentionStep.logit_indices` makes it; by default all.

        Returns:
          float32 [B, L or S, vocabulary].

        Raises:
          ValueError: ranks, batch sizes, or an id outside of the vocabulary.
        """
        token_ids = np.asarray(token_ids)
        if token_ids.ndim != 2 or len(token_ids) != step.batch:
            raise ValueError(
                f"token_ids have shape {list(token_ids.shape)}: [{step.batch}, S] is allowed for "
                f"a step of {step.batch} rows"
            )
        check_token_ids(token_ids, self.config.vocab_size)
        x = self.operations.embed(token_ids)
        for layer in range(self.config.num_layers):
            x = self._layer(layer, x, step)
        x = self.operations.rms_norm("model.norm", x)
        if indices is not None:
            x = np.take_along_axis(x, np.asarray(indices)[..., None], axis=1)
        return self.operations.lm_head(x)

    def _layer(self, layer: int, x: NDArray, step: AttentionStep) -> NDArray:
        run, prefix = self.operations, f"model.layers.{layer}"
        normed = run.rms_norm(f"{prefix}.input_layernorm", x)
        qkv = self._linear(f"{prefix}.self_attn.qkv_proj", normed)
        if self.config.qk_norm:
            qkv = self._normalise_heads(f"{prefix}.self_attn", qkv)
        attended = run.attention(layer, qkv, step)
        x = x + self._linear(f"{prefix}.self_attn.o_proj", attended.reshape(*x.shape[:2], -1))
        normed = run.rms_norm(f"{prefix}.post_attention_layernorm", x)
        gated = run.silu_mul(self._linear(f"{prefix}.mlp.gate_up_proj", normed))
        return x + self._linear(f"{prefix}.mlp.down_proj", gated)

    def _linear(self, prefix: str, x: NDArray) -> NDArray:
        y, bias = self.operations.linear(prefix, x), self.operations.bias(prefix)
        return y if bias is None else y + bias

    def _normalise_heads(self, prefix: str, qkv: NDArray) -> NDArray:
        config = self.config
        heads = qkv.reshape(*qkv.shape[:2], -1, config.head_size)
        splits = [config.num_q_heads, config.num_q_heads + config.num_kv_heads]
        q, k, v = np.split(heads, splits, axis=2)
        q = self.operations.rms_norm(f"{prefix}.q_norm", q)
        k = self.operations.rms_norm(f"{prefix}.k_norm", k)
        return np.concatenate([q, k, v], axis=2).reshape(qkv.shape)


def check_token_ids(token_ids: NDArray[np.integer], vocab_size: int) -> None:
    """Refuses ids outside of the vocabulary.

    Raises:
      ValueError: names the first one.
    """
    outside = (token_ids < 0) | (token_ids >= vocab_size)
    if outside.any():
        raise ValueError(f"token id {token_ids[outside].flat[0]}: 0 to {vocab_size - 1} is allowed")


# Where weights come from.


class Weights(Protocol):
    """The weights of a model as floating point arrays, by the prefixes of `Operations`."""

    config: ModelConfig

    def weight(self, prefix: str) -> NDArray:
        """A linear layer's [N, K]."""

    def bias(self, prefix: str) -> NDArray | None:
        """A linear layer's [N], or None."""

    def tensor(self, name: str) -> NDArray:
        """Norms, embeddings, and the head where it has weights of its own."""


class QuantizedWeights:
    """A quantised model, dequantised layer by layer."""

    def __init__(self, model: QuantizedModel) -> None:
        self.config = model.config
        self.tensor = model.tensor
        self._linear = model.linear

    def weight(self, prefix: str) -> NDArray[np.float32]:
        packed, scales, _ = self._linear(prefix)
        return quantization.dequantize(packed, scales)

    def bias(self, prefix: str) -> NDArray | None:
        return self._linear(prefix)[2]


class CheckpointWeights:
    """A checkpoint as it is, with q, k and v, and gate and up, put together when asked for."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.config = checkpoint.config
        self.tensor = checkpoint.tensor
        self._names = frozenset(checkpoint.names())

    def weight(self, prefix: str) -> NDArray:
        return np.concatenate([self.tensor(f"{part}.weight") for part in parts(prefix)])

    def bias(self, prefix: str) -> NDArray | None:
        names = [f"{part}.bias" for part in parts(prefix)]
        if not self._names.intersection(names):
            return None
        return np.concatenate([self.tensor(name) for name in names])


class NumpyOperations:
    """The operations that are no plugins: sums in float32, every result rounded to `dtype`.

    Weights are kept as float32 once they are used: 4 bytes for each parameter.
    """

    def __init__(self, weights: Weights, dtype: DTypeLike = np.float16) -> None:
        self.config = weights.config
        self.dtype = np.dtype(dtype)
        self._weights = weights
        self._kept: dict[str, NDArray[np.float32] | None] = {}

    def embed(self, token_ids: NDArray[np.integer]) -> NDArray:
        return self._tensor("model.embed_tokens.weight")[token_ids].astype(self.dtype)

    def rms_norm(self, prefix: str, x: NDArray) -> NDArray:
        x = x.astype(np.float32)
        mean = np.mean(np.square(x), axis=-1, keepdims=True)
        normed = x / np.sqrt(mean + np.float32(self.config.rms_norm_eps))
        return (normed * self._tensor(f"{prefix}.weight")).astype(self.dtype)

    def bias(self, prefix: str) -> NDArray | None:
        bias = self._keep(f"{prefix}.bias", lambda: self._weights.bias(prefix))
        return None if bias is None else bias.astype(self.dtype)

    def silu_mul(self, gate_up: NDArray) -> NDArray:
        gate, up = np.split(gate_up.astype(np.float32), 2, axis=-1)
        with np.errstate(over="ignore"):  # exp(-gate) is infinite where SiLU is zero
            return (gate / (1 + np.exp(-gate)) * up).astype(self.dtype)

    def lm_head(self, x: NDArray) -> NDArray[np.float32]:
        tied = self.config.tie_embeddings
        weight = self._tensor("model.embed_tokens.weight" if tied else "lm_head.weight")
        return x.astype(np.float32) @ weight.T

    def _tensor(self, name: str) -> NDArray[np.float32]:
        return self._keep(name, lambda: self._weights.tensor(name))

    def _keep(self, name: str, read: Callable[[], NDArray | None]) -> NDArray[np.float32] | None:
        if name not in self._kept:
            array = read()
            self._kept[name] = None if array is None else np.asarray(array, np.float32)
        return self._kept[name]


class ReferenceOperations(NumpyOperations):
    """All operations in NumPy: products and sums in float32, every result rounded to `dtype`.

    With float16 it computes what the plugins must compute (see `reference.attention` for what the
    inputs of a step mean), up to the order of float32 sums.
    """

    def __init__(
        self, weights: Weights, capacity: int, *, batch: int = 1, dtype: DTypeLike = np.float16
    ) -> None:
        """Empty caches for `batch` rows of `capacity` tokens.

        Args:
          weights: `QuantizedWeights`, `CheckpointWeights` or others like them.
          capacity: slots of each KV cache, and positions of the RoPE table.
          batch: rows; a step may have fewer, which are the first ones.
          dtype: float16, as engines compute, or float32.
        """
        super().__init__(weights, dtype)
        config = self.config
        self.rope_cos_sin = config.rope_cos_sin(capacity)
        shape = (batch, 2, config.num_kv_heads, capacity, config.head_size)
        self.kv_caches = [np.zeros(shape, self.dtype) for _ in range(config.num_layers)]
        self._latest_step: tuple[AttentionStep, tuple[int, ...]] | None = None
        self._latest_rows: list[_RowTokens] = []

    def linear(self, prefix: str, x: NDArray) -> NDArray:
        weight = self._keep(prefix, lambda: self._weights.weight(prefix))
        return (x.astype(np.float32) @ weight.T).astype(self.dtype)

    def attention(self, layer: int, qkv: NDArray, step: AttentionStep) -> NDArray:
        config, cache = self.config, self.kv_caches[layer]
        heads = qkv.reshape(*qkv.shape[:2], -1, config.head_size)
        splits = [config.num_q_heads, config.num_q_heads + config.num_kv_heads]
        q, k, v = np.split(heads, splits, axis=2)
        output = np.zeros(q.shape, self.dtype)
        for b, row in enumerate(self._row_tokens(heads.shape, step)):
            written = row.slots < cache.shape[3]
            slots, keys = row.slots[written], self._rotate(k[b, row.indices], row.positions)
            cache[b, 0][:, slots] = keys[written].swapaxes(0, 1)
            cache[b, 1][:, slots] = v[b, row.indices][written].swapaxes(0, 1)
            queries = self._rotate(q[b, row.indices], row.positions)
            output[b, row.indices] = _attend(queries, cache[b], row.visible)
        return output

    def _row_tokens(self, heads_shape: tuple[int, ...], step: AttentionStep) -> list[_RowTokens]:
        """The valid tokens of each row; found once for all layers of a step."""
        latest_step, latest_shape = self._latest_step or (None, None)
        if latest_step is not step or latest_shape != heads_shape:
            inputs = reference.check_attention_inputs(
                np.broadcast_to(np.float16(0), heads_shape),
                np.broadcast_to(np.float16(0), self.kv_caches[0][: heads_shape[0]].shape),
                step.context_lengths,
                self.rope_cos_sin,
                step.kv_cache_start_index,
                num_q_heads=self.config.num_q_heads,
                num_kv_heads=self.config.num_kv_heads,
                head_size=self.config.head_size,
                attention_mask=step.attention_mask,
                attention_pos_ids=step.attention_pos_ids,
            )
            rows = [reference.valid_tokens(inputs, b) for b in range(inputs.batch)]
            self._latest_rows = [_RowTokens(tokens) for tokens in rows]
            self._latest_step = (step, heads_shape)
        return self._latest_rows

    def _rotate(self, x: NDArray, positions: NDArray[np.int64]) -> NDArray:
        """RoPE of x [n, H, D], rounded."""
        table = self.rope_cos_sin[0, positions][:, None]
        cos, sin = np.split(table, 2, axis=-1)
        pairs = cos.shape[-1]
        first, second, rest = np.split(x.astype(np.float32), [pairs, 2 * pairs], axis=-1)
        rotated = [first * cos - second * sin, second * cos + first * sin, rest]
        return np.concatenate(rotated, axis=-1).astype(self.dtype)


class _RowTokens:
    """The n valid tokens of a row as arrays."""

    def __init__(self, tokens: list[reference.Token]) -> None:
        self.indices = np.array([token.index for token in tokens], np.int64)
        self.slots = np.array([token.slot for token in tokens], np.int64)
        self.positions = np.array([token.position for token in tokens], np.int64)
        slots = 1 + max((max(token.visible_slots, default=-1) for token in tokens), default=-1)
        self.visible = np.zeros((len(tokens), slots), np.bool_)
        for row, token in zip(self.visible, tokens, strict=True):
            row[token.visible_slots] = True


def _attend(q: NDArray, cache: NDArray, visible: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Attention of q [n, Hq, D] to cache [2, Hkv, Cap, D] where visible [n, m]: [n, Hq, D]."""
    count, num_q_heads, head_size = q.shape
    keys, values = cache[:, :, : visible.shape[1]].astype(np.float32)
    queries = q.astype(np.float32).reshape(count, len(keys), -1, head_size).transpose(1, 2, 0, 3)
    scores = queries @ keys[:, None].swapaxes(2, 3) / np.sqrt(np.float32(head_size))
    scores = np.where(visible, scores, -np.inf)
    largest = scores.max(axis=-1, keepdims=True, initial=np.finfo(np.float32).min)
    weights = np.exp(scores - largest)
    sums = weights.sum(axis=-1, keepdims=True)
    weights = np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0)
    return (weights @ values[:, None]).transpose(2, 0, 1, 3).reshape(count, num_q_heads, head_size)


def perplexity(transformer: Transformer, token_ids: ArrayLike, chunk: int = 256) -> float:
    """exp of the mean of -log p(token | all tokens before it), over all but the first token.

    The caches are overwritten; they must have one row and a slot for every token but the last.

    Args:
      transformer: a network whose operations have such caches.
      token_ids: int [T], T >= 2.
      chunk: tokens per step; it bounds the memory of the logits, and changes nothing else.

    Raises:
      ValueError: fewer than two tokens.
    """
    token_ids = np.asarray(token_ids)
    if token_ids.ndim != 1 or len(token_ids) < 2:
        raise ValueError(
            f"token_ids have shape {list(token_ids.shape)}: [T] with T >= 2 is allowed"
        )
    loss = 0.0
    for start in range(0, len(token_ids) - 1, chunk):
        targets = token_ids[start + 1 : start + 1 + chunk]
        inputs = token_ids[start : start + len(targets)]
        step = AttentionStep.chunk([start], [len(inputs)])
        if start == 0:
            step = AttentionStep.prefill([len(inputs)])
        logits = transformer.logits(inputs[None], step)[0].astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        loss += float(np.sum(np.log(np.exp(logits).sum(axis=-1)) - chosen))
    return float(np.exp(loss / (len(token_ids) - 1)))
