"""What a release is made of and with: the rows of its SBOM."""

load("//tools/bazel:wheel_pins.bzl", "WHEEL_PINS")
load("//tools/cuda:cuda.bzl", "CUDA_RELEASES")

def components(cuda):
    """The components of a platform's release.

    Args:
      cuda: the platform's CUDA release.

    Returns:
      Rows of name, version, SPDX licence, SPDX relationship to the release, and the wheel they come from.
    """
    zig = WHEEL_PINS["ziglang"]["version"]
    release = CUDA_RELEASES[cuda]
    nvrtc = WHEEL_PINS[release["compiler"]]["version"]
    nvfatbin = WHEEL_PINS[release["packer"]]["version"]
    pybind11 = WHEEL_PINS["pybind11"]["version"]
    return [
        _row("libc++", zig, "Apache-2.0 WITH LLVM-exception", "STATIC_LINK", "ziglang"),
        _row("libc++abi", zig, "Apache-2.0 WITH LLVM-exception", "STATIC_LINK", "ziglang"),
        _row("libunwind", zig, "Apache-2.0 WITH LLVM-exception", "STATIC_LINK", "ziglang"),
        _row("pybind11", pybind11, "BSD-3-Clause", "STATIC_LINK", "pybind11"),
        _row("zig", zig, "MIT", "BUILD_TOOL_OF", "ziglang"),
        _row("nvrtc", nvrtc, "LicenseRef-NVIDIA-CUDA", "BUILD_TOOL_OF", release["compiler"]),
        _row("nvfatbin", nvfatbin, "LicenseRef-NVIDIA-CUDA", "BUILD_TOOL_OF", release["packer"]),
    ]

def _row(name, version, license, relationship, wheel):
    return {
        "license": license,
        "name": name,
        "relationship": relationship,
        "version": version,
        "wheel": "%s %s" % (WHEEL_PINS[wheel].get("name", wheel), WHEEL_PINS[wheel]["version"]),
    }
