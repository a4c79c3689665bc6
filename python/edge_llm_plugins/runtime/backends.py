"""What runs the network: a back end computes steps, and keeps the KV caches between them.

    logits = backend.run(prompt[None, :], AttentionStep.prefill([n]))     # [1, 1, vocabulary]
    logits = backend.run(token[None, None], AttentionStep.decode([n]))    # the next one
    logits = backend.run(drafts[None, :], AttentionStep.draft_tree(parents, [n + 1]))
    backend.move_slots(row=0, sources=[n + 3], destination=n + 2)         # the accepted branch

A step runs the whole network once on S new tokens of each row, writes their keys and values into
the caches, and returns logits. A back end counts no tokens: the step says where a row stands (its
`pasts`, `starts` or `lengths`), and the caller keeps that number. What a step says of slots beyond
it is forgotten: slots behind a row's valid tokens have any content, and a later step overwrites
them. So a text is dropped by starting the next one with a prefill, and its end by going on from a
smaller number of past tokens.

  prefill      S tokens or fewer into an empty cache, slots 0 to S - 1
  chunk        the next tokens of a prompt that is longer than limits.prefill_tokens; S = 1 is a
               chunk too
  decode       one token behind `past` others, written to slot `past`
  draft_tree   token j of the tree is written to slot past + j, with the RoPE position past + depth

After a tree the accepted path's tokens must stand in slots past, past + 1, ... in the order of
their depth: `move_slots` puts them there. Slot and position are then the same, as after decode.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import emulator, host
from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.models.transformer import QuantizedWeights, ReferenceOperations, Transformer
from edge_llm_plugins.runtime.host_operations import HostOperations


class Backend(Protocol):
    """A network on some device, with one KV cache per layer for each of `limits.batch` rows."""

    config: ModelConfig
    limits: Limits  # the largest steps that it takes

    def run(self, token_ids: NDArray[np.int32], step: AttentionStep) -> NDArray[np.float32]:
        """Runs one step; the caches are updated when it returns.

        Args:
          token_ids: int32 [B, S], B = step.batch; padding tokens have any id of the vocabulary.
          step: S is at most limits.prefill_tokens for a prefill or chunk, limits.tree_tokens for a
            tree.

        Returns:
          Logits, float32 [B, L, vocabulary], of the tokens step.logit_indices(S): the last valid
          one of each row, or all S tokens of a tree.

        Raises:
          ValueError: more rows or tokens than `limits` allow, or an id outside of the vocabulary.
        """

    def move_slots(self, row: int, sources: Sequence[int], destination: int) -> None:
        """Copies slot sources[i] of a row to slot destination + i, in every layer's cache.

        Args:
          row: of the batch.
          sources: ascending, sources[i] >= destination + i, all below limits.capacity.
        """


def check_step(limits: Limits, token_ids: NDArray[np.int32], step: AttentionStep) -> None:
    """Refuses what `limits` do not allow; all back ends call it first.

    Raises:
      ValueError: the rank, or too many rows or tokens.
    """
    if token_ids.ndim != 2 or token_ids.shape[0] != step.batch:
        raise ValueError(
            f"token_ids have shape {list(token_ids.shape)}: [{step.batch}, S] is allowed for a "
            f"step of {step.batch} rows"
        )
    batch, tokens = token_ids.shape
    if batch > limits.batch:
        raise ValueError(f"the step has {batch} rows: up to {limits.batch} are allowed")
    kind, most = "step", limits.prefill_tokens
    if step.is_tree:
        kind, most = "draft tree", limits.tree_tokens
    if not 1 <= tokens <= most:
        raise ValueError(f"the {kind} has {tokens} tokens per row: 1 to {most} are allowed")


class ReferenceBackend:
    """NumPy, to verify the others: the same quantized weights, and no plugin.

    Weights become float32: 4 bytes for each parameter.
    """

    def __init__(self, model: QuantizedModel, limits: Limits) -> None:
        self.config, self.limits = model.config, limits
        self._operations = ReferenceOperations(
            QuantizedWeights(model), limits.capacity, batch=limits.batch
        )
        self._transformer = Transformer(self._operations)

    def run(self, token_ids: NDArray[np.int32], step: AttentionStep) -> NDArray[np.float32]:
        check_step(self.limits, token_ids, step)
        return self._transformer.logits(token_ids, step, step.logit_indices(token_ids.shape[1]))

    def move_slots(self, row: int, sources: Sequence[int], destination: int) -> None:
        for cache in self._operations.kv_caches:
            # Indexing with a list copies first: slots may be source and destination.
            cache[row, :, :, destination : destination + len(sources)] = cache[
                row, :, :, list(sources)
            ].transpose(1, 2, 0, 3)


class HostBackend:
    """The project's plugins without TensorRT, on a GPU or in the emulator; NumPy for the rest."""

    def __init__(
        self,
        model: QuantizedModel,
        limits: Limits,
        *,
        device: str = "auto",
        sm: int | None = None,
        plugin_version: str = "2",
        emulator_checks: str = "all",
    ) -> None:
        """Loads the plugins and copies the weights to the device.

        Args:
          model: a quantized model folder.
          limits: the largest steps.
          device, sm: as `host.open_device` takes them.
          plugin_version: "2" (IPluginV3) or "1" (IPluginV2DynamicExt).
          emulator_checks: what the emulator checks (see `emulator.checks`); "none" is several
            times faster. A GPU has no such checks.

        Raises:
          CudaError, PluginError: no device, or no kernels for it or for the model's heads.
          ValueError: device, SM or version.
        """
        self.config, self.limits = model.config, limits
        self.device = host.open_device(device, sm)
        self._checks = emulator_checks if self.device.kind == "emulator" else None
        with self._checking():
            self._operations = HostOperations(model, limits, self.device, plugin_version)
        self._transformer = Transformer(self._operations)

    def run(self, token_ids: NDArray[np.int32], step: AttentionStep) -> NDArray[np.float32]:
        check_step(self.limits, token_ids, step)
        indices = step.logit_indices(token_ids.shape[1])
        with self._checking():
            return self._transformer.logits(token_ids, step, indices)

    def move_slots(self, row: int, sources: Sequence[int], destination: int) -> None:
        self._operations.move_slots(row, sources, destination)

    def _checking(self) -> contextlib.AbstractContextManager[None]:
        if self._checks is None:
            return contextlib.nullcontext()
        return emulator.checks(self._checks)
