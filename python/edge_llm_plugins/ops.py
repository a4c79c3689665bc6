"""One call per operation: runs the plugin on NumPy arrays, on a GPU or on the emulator."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_llm_plugins import host, quantization
from edge_llm_plugins._attention_inputs import check_attention_inputs


def int4_groupwise_gemm(
    x: ArrayLike,
    packed: ArrayLike,
    scales: ArrayLike,
    *,
    device: str = "auto",
    sm: int | None = None,
    plugin_version: str = "2",
) -> NDArray[np.float16]:
    """Multiplies activations by INT4 weights with the plugin Int4GroupwiseGemmPlugin.

    Every call builds, loads and runs a plugin and copies all tensors; programs that call it often
    use `edge_llm_plugins.host`, or TensorRT.

    Args:
      x: float16 [B, S, K], contiguous. B * S = 0 gives an empty result.
      packed: int8 [N/2, K], contiguous, as `quantization.pack` makes it.
      scales: float16 [ceil(K/128), N], contiguous, finite, |8 * scale| <= 65504.
      device: "cuda", "emulator", or "auto": a GPU when there is one.
      sm: the SM to emulate, such as 87 (by default the first one of the build).
      plugin_version: "2" (IPluginV3) or "1" (IPluginV2DynamicExt).

    Returns:
      float16 [B, S, N]; sums are accumulated in FP32.

    Raises:
      TypeError: a dtype other than these.
      ValueError: rank, shape, contiguity, scales, device, SM or version.
      PluginError, CudaError: the device or the plugin failed.
    """
    _check_version(plugin_version)
    packed = _contiguous("packed", quantization.check_packed(packed))
    n, k = 2 * packed.shape[0], packed.shape[1]
    scales = _contiguous("scales", quantization.check_scales(scales, n, k))
    x = _contiguous("x", _check_activations(x, k))
    target = host.open_device(device, sm)

    inputs = [
        target.tensor(x, "x"),
        target.tensor(packed, "packed"),
        target.tensor(scales, "scales"),
    ]
    y = target.empty(np.float16, (*x.shape[:2], n), "y")
    fields = {"gemm_n": n, "gemm_k": k, "group_size": quantization.GROUP_SIZE}
    _run(target, "Int4GroupwiseGemmPlugin", plugin_version, fields, inputs, [y])
    return y.numpy()


def attention(
    qkv: ArrayLike,
    kv_cache: NDArray[np.float16],
    context_lengths: ArrayLike,
    rope_cos_sin: ArrayLike,
    kv_cache_start_index: ArrayLike,
    *,
    num_q_heads: int,
    num_kv_heads: int,
    head_size: int,
    attention_mask: ArrayLike | None = None,
    attention_pos_ids: ArrayLike | None = None,
    out_kv_cache: NDArray[np.float16] | None = None,
    device: str = "auto",
    sm: int | None = None,
    plugin_version: str = "2",
) -> NDArray[np.float16]:
    """Applies RoPE, writes K and V to the cache and attends to it, with the plugin AttentionPlugin.

    Which mode runs, what the lengths mean in it, which contents are allowed and how far Inf and NaN
    in V reach is in `reference.attention`. Every call builds, loads and runs a plugin and copies
    all tensors; programs that call it often use `edge_llm_plugins.host`, or TensorRT.

    Args, all arrays contiguous:
      qkv: float16 [B, S, (Hq + 2 Hkv) D] or [B, S, Hq + 2 Hkv, D]: Q heads, K heads, V heads.
      kv_cache: float16 [B, 2, Hkv, Cap, D]. The new keys and values are written to it, unless
        `out_kv_cache` is given.
      context_lengths: int32 [B].
      rope_cos_sin: float32 [1 or B, P, R], as `rope.cos_sin` makes it.
      kv_cache_start_index: int32 [0] for prefill, else [B].
      num_q_heads, num_kv_heads, head_size: Hq, Hkv, D.
      attention_mask: int32 [B, S, W], as `tree.pack_mask` makes it. Mask and positions come
        together, and mean enable_tree_attention = 1.
      attention_pos_ids: int32 [B, S], as `tree.position_ids` makes it.
      out_kv_cache: as kv_cache, apart from it: becomes kv_cache with the new keys and values.
      device: "cuda", "emulator", or "auto": a GPU when there is one.
      sm: the SM to emulate, such as 87 (by default the first one of the build).
      plugin_version: "2" (IPluginV3) or "1" (IPluginV2DynamicExt).

    Returns:
      float16 [B, S, Hq, D]; softmax and sums are FP32.

    Raises:
      TypeError: a dtype other than these, or a cache that is no NumPy array.
      ValueError: ranks, shapes, contiguity, caches that overlap or cannot be written, device, SM or
        version.
      PluginError, CudaError: head counts or a head size that no kernel serves; the device or the
        plugin failed. The caches are as they were.
    """
    _check_version(plugin_version)
    arrays = {
        "qkv": qkv,
        "kv_cache": kv_cache,
        "context_lengths": context_lengths,
        "rope_cos_sin": rope_cos_sin,
        "kv_cache_start_index": kv_cache_start_index,
    }
    has_tree = attention_mask is not None or attention_pos_ids is not None
    if has_tree:
        arrays |= {"attention_mask": attention_mask, "attention_pos_ids": attention_pos_ids}
    heads = {"num_q_heads": num_q_heads, "num_kv_heads": num_kv_heads, "head_size": head_size}
    checked = check_attention_inputs(**arrays, **heads)
    arrays = {name: _contiguous(name, np.asarray(array)) for name, array in arrays.items()}
    written_cache = _check_caches(kv_cache, out_kv_cache)
    target = host.open_device(device, sm)

    inputs = [target.tensor(array, name) for name, array in arrays.items()]
    output_shape = (checked.batch, checked.seq_len, num_q_heads, head_size)
    output = target.empty(np.float16, output_shape, "output")
    cache = inputs[1]
    if out_kv_cache is not None:
        cache = target.empty(np.float16, kv_cache.shape, "out_kv_cache")
    fields = heads | {"enable_tree_attention": int(has_tree)}
    _run(target, "AttentionPlugin", plugin_version, fields, inputs, [output, cache])
    written_cache[...] = cache.numpy()
    return output.numpy()


def _run(
    target: host.Device,
    plugin: str,
    version: str,
    fields: dict[str, int],
    inputs: list[host.DeviceTensor],
    outputs: list[host.DeviceTensor],
) -> None:
    """Builds an engine for exactly these tensors, runs it once and waits for it."""
    creator = host.find_creator(target.library, plugin, version)
    ranges = [host.fixed_range(tensor.dtype, tensor.shape) for tensor in inputs]
    stream = target.stream()
    with host.build_engine(creator, fields, ranges).load(target) as loaded:
        context = loaded.create_context()
        context.enqueue(inputs, outputs, stream)
        stream.synchronize()


def _check_version(plugin_version: str) -> None:
    if plugin_version not in ("1", "2"):
        raise ValueError(
            f'plugin_version is {plugin_version!r}: "1" (IPluginV2DynamicExt) or "2" (IPluginV3) '
            "is allowed"
        )


def _check_caches(
    kv_cache: NDArray[np.float16], out_kv_cache: NDArray[np.float16] | None
) -> NDArray[np.float16]:
    """Returns the cache that is written."""
    if out_kv_cache is None:
        return _check_written("kv_cache", kv_cache)
    _check_written("out_kv_cache", out_kv_cache)
    if out_kv_cache.dtype != np.float16:
        raise TypeError(f"out_kv_cache has dtype {out_kv_cache.dtype}: float16 is allowed")
    if out_kv_cache.shape != np.shape(kv_cache):
        raise ValueError(
            f"out_kv_cache has shape {list(out_kv_cache.shape)}: {list(np.shape(kv_cache))} is "
            "allowed, as kv_cache"
        )
    if np.may_share_memory(kv_cache, out_kv_cache):
        raise ValueError(
            "out_kv_cache overlaps kv_cache: another array is allowed, or None to write to kv_cache"
        )
    return out_kv_cache


def _check_written(name: str, cache: NDArray[np.float16]) -> NDArray[np.float16]:
    if not isinstance(cache, np.ndarray):
        raise TypeError(f"{name} is a {type(cache).__name__}: a NumPy array is allowed")
    if not cache.flags.writeable:
        raise ValueError(f"{name} is read-only: pass a writable array")
    return _contiguous(name, cache)


def _check_activations(x: ArrayLike, k: int) -> NDArray[np.float16]:
    x = np.asarray(x)
    if x.dtype != np.float16:
        raise TypeError(f"x has dtype {x.dtype}: float16 is allowed")
    if x.ndim != 3 or x.shape[2] != k:
        raise ValueError(
            f"x has shape {list(x.shape)}: [B, S, {k}] is allowed for weights with K = {k}"
        )
    return x


def _contiguous(name: str, array: NDArray) -> NDArray:
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not contiguous: pass np.ascontiguousarray({name})")
    return array
