"""One call per operation: runs the plugin on NumPy arrays, on a GPU or on the emulator."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_llm_plugins import host, quantization


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
    if plugin_version not in ("1", "2"):
        raise ValueError(
            f'plugin_version is {plugin_version!r}: "1" (IPluginV2DynamicExt) or "2" (IPluginV3) '
            "is allowed"
        )
    packed = _contiguous("packed", quantization.check_packed(packed))
    n, k = 2 * packed.shape[0], packed.shape[1]
    scales = _contiguous("scales", quantization.check_scales(scales, n, k))
    x = _contiguous("x", _check_activations(x, k))
    target = host.open_device(device, sm)

    engine = host.build_engine(
        host.find_creator(target.library, "Int4GroupwiseGemmPlugin", plugin_version),
        {"gemm_n": n, "gemm_k": k, "group_size": quantization.GROUP_SIZE},
        [host.fixed_range(array.dtype, array.shape) for array in (x, packed, scales)],
    )
    inputs = [
        target.tensor(x, "x"),
        target.tensor(packed, "packed"),
        target.tensor(scales, "scales"),
    ]
    y = target.empty(np.float16, (*x.shape[:2], n), "y")
    stream = target.stream()
    with engine.load(target) as loaded:
        context = loaded.create_context()
        context.enqueue(inputs, [y], stream)
        stream.synchronize()
    return y.numpy()


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
