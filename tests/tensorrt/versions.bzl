"""The TensorRTs of the tests, by the names of their wheels in tools/bazel/wheel_pins.bzl."""

# Whole lean runtimes, from 10 on.
LEAN_VERSIONS = ["10.16", "11.4"]

LEAN_8_6 = "tensorrt_lean-8.6"

RTX_WHEELS = ["tensorrt_rtx_cu13_bindings", "tensorrt_rtx_cu13_libs"]

# Whose compiled interfaces are compared with our declarations.
DECLARED = [
    LEAN_8_6,
    "tensorrt_lean_cu12_bindings-10.0.1",
    "tensorrt_lean_cu12_bindings-10.3",
] + ["tensorrt_lean_cu13_bindings-" + version for version in LEAN_VERSIONS] + RTX_WHEELS[:1]

def lean_wheels(version):
    """The wheels of a lean runtime of LEAN_VERSIONS."""
    return ["tensorrt_lean_cu13_%s-%s" % (part, version) for part in ("bindings", "libs")]

def lean_test(version):
    """The name of the test of a lean runtime, in //tests/tensorrt."""
    return "lean_%s_test" % version.replace(".", "_")

def load_test(name):
    """The name of the test in //tests/tensorrt/loading that loads the library into "rtx" or a version."""
    return "%s_load_test" % (name if name == "rtx" else "lean_" + name.replace(".", "_"))
