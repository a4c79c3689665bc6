"""Activation-aware scaling of weights (AWQ, arXiv:2306.00978).

An input channel that carries large activations deserves finer codes. Multiplying its column of
weights by s > 1 and dividing its activations by s leaves the layer as it is, but makes the column's
rounding error smaller by s where the group's scale does not grow as much. The division is folded
into what computes the activations:

    qkv, gate_up    the RMSNorm in front
    down            rows of up (the gate's SiLU is no linear function, the product with up is)
    o               rows of v, which the query heads that share a KV head must agree on
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.quantize import search
from edge_llm_plugins.quantize.layer import DOWN, GATE_UP, INPUT_NORM, MLP_NORM, OUTPUT, QKV, Layer

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)

# Tokens, and rows of weights, that errors are measured on: more change the chosen alpha rarely.
_SAMPLE = 512


@dataclasses.dataclass(frozen=True)
class ChannelScales:
    """scales: float32 [K] = mean |x| ^ alpha, up to a factor; error: see `output_error`."""

    scales: NDArray[np.float32]
    alpha: float
    error: float


def output_error(difference: NDArray, weight: NDArray, x: NDArray) -> float:
    """|difference x^T| / |weight x^T| (Frobenius norms), on at most 512 tokens of x [T, K]."""
    x = _sample(x).T
    return float(np.linalg.norm(difference @ x) / max(np.linalg.norm(weight @ x), 1e-30))


def search_channel_scales(
    weight: NDArray[np.float32], x: ArrayLike, shared: ArrayLike | None = None
) -> ChannelScales:
    """The scales of input channels that minimise the error of a layer's output.

    Args:
      weight: float32 [N, K], as `search.search_groupwise` takes it.
      x: [T, K], the layer's activations on some tokens, T >= 1.
      shared: int [K]: channels with the same number get the same scale; by default each its own.

    Returns:
      The best of ALPHAS, judged on at most 512 tokens and rows; alpha = 0, where all scales are 1,
      is among them.
    """
    x = np.asarray(x, np.float32)
    magnitude = np.abs(x).mean(axis=0)
    if shared is not None:
        shared = np.asarray(shared)
        magnitude = (np.bincount(shared, magnitude) / np.bincount(shared))[shared]
    # Channels without activations take part in nothing: any finite scale will do.
    used = magnitude > 0
    magnitude = np.where(used, magnitude, magnitude[used].min() if used.any() else 1)
    mean_square = np.square(x).mean(axis=0)
    weight = _sample(weight)
    best = None
    for alpha in ALPHAS:
        scales = magnitude**alpha
        scales = (scales / np.sqrt(scales.max() * scales.min())).astype(np.float32)
        codes, group_scales = search.search_groupwise(weight * scales, mean_square / scales**2)
        difference = search.dequantize_codes(codes, group_scales) / scales - weight
        error = output_error(difference, weight, x)
        if best is None or error < best.error:
            best = ChannelScales(scales, alpha, error)
    return best


def scale_layer(
    layer: Layer, inputs: Mapping[str, NDArray]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, float]]:
    """Scales a layer's channels in place; the layer computes what it did before.

    Norms are rounded to float16, as they are stored, and the columns take up what that changes.

    Args:
      layer: as it is in the checkpoint.
      inputs: activations [T, K] of each of its linear layers, by their names in the layer.

    Returns, both by names in the layer:
      scales: float32 [K], by which the columns were multiplied.
      alphas: what was chosen.
    """
    shared = {OUTPUT: shared_heads(layer.config)}
    # All searches come before all folds: rows of v and up weigh in the error as they are.
    found = {
        name: search_channel_scales(weight, inputs[name], shared.get(name))
        for name, weight in layer.linears.items()
    }
    scales = {name: channel.scales for name, channel in found.items()}
    for norm, name in ((INPUT_NORM, QKV), (MLP_NORM, GATE_UP)):
        layer.others[norm], scales[name] = _fold_into_norm(layer.others[norm], scales[name])
    for name, weight in layer.linears.items():
        weight *= scales[name]

    v_rows = slice(layer.config.q_size + layer.config.kv_size, None)
    _, first = np.unique(shared[OUTPUT], return_index=True)
    v_scales = scales[OUTPUT][first]
    layer.linears[QKV][v_rows] /= v_scales[:, None]
    if QKV in layer.biases:
        bias = layer.biases[QKV].astype(np.float32)
        bias[v_rows] /= v_scales
        layer.biases[QKV] = bias
    layer.linears[GATE_UP][layer.config.intermediate_size :] /= scales[DOWN][:, None]
    return scales, {name: channel.alpha for name, channel in found.items()}


def shared_heads(config: ModelConfig) -> NDArray[np.intp]:
    """int [q_size]: the row of V that each input channel of o_proj is a mean of."""
    rows = np.arange(config.kv_size).reshape(config.num_kv_heads, 1, config.head_size)
    return np.repeat(rows, config.num_q_heads // config.num_kv_heads, axis=1).reshape(-1)


def _sample(matrix: NDArray) -> NDArray:
    """At most 512 rows, evenly spread."""
    count = min(len(matrix), _SAMPLE)
    return matrix[np.arange(count) * len(matrix) // count]


def _fold_into_norm(
    norm: NDArray, scales: NDArray[np.float32]
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """norm / scales in float16, and the scales that it stands for exactly."""
    with np.errstate(over="ignore", under="ignore"):
        halves = (norm / scales).astype(np.float16)
    # Where float16 cannot hold the quotient, or there is nothing to divide, the channel stays.
    kept = ~np.isfinite(halves) | (np.abs(halves) < np.finfo(np.float16).smallest_normal)
    halves[kept] = norm[kept]
    exact = np.ones_like(scales)
    divisor = halves.astype(np.float32)
    np.divide(norm, divisor, out=exact, where=divisor != 0, casting="same_kind")
    return halves, exact
