"""What was proven of each TensorRT, platform and Python, and the test that proves it."""

load("//kernels:variants.bzl", "SMS")
load("//platforms:platforms.bzl", "HOST", "PLATFORMS")
load(
    "//tests/tensorrt:versions.bzl",
    "DECLARED",
    "LEAN_8_6",
    "LEAN_VERSIONS",
    "RTX_WHEELS",
    "lean_test",
    "lean_wheels",
    "load_test",
)
load("//tools/bazel:python.bzl", "SUPPORTED_PYTHONS")
load("//tools/bazel:wheel_pins.bzl", "WHEEL_PINS")
load("//tools/cuda:cuda.bzl", "CUDA_RELEASES")
load("//tools/wheel:python_tests.bzl", "python_test")

_ABI = "//tests/tensorrt:abi_test"
_ENGINES_OF_RTX = [
    "//tests/tensorrt/rtx:rtx_build_test",
    "//tests/tensorrt/rtx:rtx_export_test",
    "//tests/tensorrt/rtx:rtx_test",
    "//tests/tensorrt_engine:rtx_network_test",
]

# By hand, where no test of this repository can: on a GPU.
_BY_HAND = ("a layer [by hand, 2026-11-30](../tests/tensorrt_engine/README.md), " +
            "a model [by hand, 2026-11-27](benchmarks/generation.md#in-an-engine)")
_NOT_YET = "not yet"

def _cells(runtime, registry, built, run):
    """What was proven: of which version of the runtime, and how."""
    return {"built": built, "registry": registry, "run": run, "runtime": runtime}

def _lean(version):
    wheel = lean_wheels(version)[1]
    registry = ["//tests/tensorrt:" + lean_test(version), "//tests/tensorrt/loading:" + load_test(version)]
    cells = _cells(WHEEL_PINS[wheel]["version"], registry, _NOT_YET, _NOT_YET)
    return {"v2": cells, "v3": cells}

# By major version; a plugin that a TensorRT cannot have has no cells, but the reason.
TENSORRTS = {
    "TensorRT 8.6": {
        "v2": _cells(WHEEL_PINS[LEAN_8_6]["version"], ["//tests/tensorrt:lean_8_6_test"], _BY_HAND, _BY_HAND),
        "v3": "has no V3 plugins",
    },
} | {"TensorRT %s.x" % version.split(".")[0]: _lean(version) for version in LEAN_VERSIONS} | {
    "TensorRT-RTX": {
        "v2": "gets the V3 plugins under both versions",
        "v3": _cells(
            WHEEL_PINS[RTX_WHEELS[1]]["version"],
            ["//tests/tensorrt/loading:" + load_test("rtx"), "//tests/tensorrt/rtx:rtx_test"],
            _ENGINES_OF_RTX,
            _NOT_YET,
        ),
    },
}

def _versions(name):
    """The versions whose declarations are compared, as their wheels have them."""
    if name == "TensorRT-RTX":
        wheels = RTX_WHEELS[:1]
    else:
        major = name.removeprefix("TensorRT ").split(".")[0]
        wheels = [wheel for wheel in DECLARED if wheel not in RTX_WHEELS and
                                                 WHEEL_PINS[wheel]["version"].split(".")[0] == major]
    return [WHEEL_PINS[wheel]["version"] for wheel in wheels]

def _platform(name, row):
    tests = ["//tests/cross:%s_release_test" % name]
    if row["cpu"] == "aarch64":
        tests.append("//tests/cross:%s_qemu_test" % name)
    return row | {"tests": tests}

COMPATIBILITY = {
    "cuda": {
        release: {
            "nvrtc": WHEEL_PINS[facts["compiler"]]["version"],
            "platforms": [name for name, row in PLATFORMS.items() if row["cuda"] == release],
            "sms": [sm for sm, row in SMS.items() if release in row["cuda"]],
        }
        for release, facts in CUDA_RELEASES.items()
    },
    "host": HOST,
    "platforms": {name: _platform(name, row) for name, row in PLATFORMS.items()},
    "pythons": {version: ["//tools/wheel:" + python_test(version)] for version in SUPPORTED_PYTHONS},
    "slots": [_ABI, "//plugins:tensorrt_host_test"],
    "tensorrts": [row | {"name": name, "versions": _versions(name)} for name, row in TENSORRTS.items()],
}

def named_tests():
    """The tests that the tables name.

    Returns:
      Their labels, for a test_suite: a name without a test stops the build.
    """
    tests = COMPATIBILITY["slots"] + []
    for row in COMPATIBILITY["platforms"].values():
        tests += row["tests"]
    for tests_of_python in COMPATIBILITY["pythons"].values():
        tests += tests_of_python
    for row in COMPATIBILITY["tensorrts"]:
        for plugin in ("v2", "v3"):
            if type(row[plugin]) == "dict":
                tests += [test for cell in row[plugin].values() if type(cell) == "list" for test in cell]
    return {test: None for test in tests}.keys()
