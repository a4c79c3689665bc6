"""The wheel on every Python that it is made for."""

load("//platforms:platforms.bzl", "HOST", "PLATFORMS")
load("//tools/bazel:defs.bzl", "py_test")
load("//tools/bazel:python.bzl", "SUPPORTED_PYTHONS", "installed_interpreter", "with_python_headers")
load("//tools/bazel:transition.bzl", "for_python")
load("//tools/bazel:wheels.bzl", "target_wheel")

def python_test(version):
    """The name of the test of a Python."""
    return "python_%s_test" % version.replace(".", "_")

def python_tests():
    """Declares a test per Python: the extension module is built for it, and the rest is the wheel's."""
    for version in SUPPORTED_PYTHONS:
        bindings = "bindings_" + version.replace(".", "_")
        for_python(
            name = bindings,
            python = version,
            tags = ["manual"],
            target = with_python_headers("bindings", version),
        )
        numpy = target_wheel("numpy", PLATFORMS[HOST]["cpu"], version)
        py_test(
            name = python_test(version),
            srcs = ["python_versions_test.py"],
            data = [bindings, installed_interpreter(version), numpy, "//python:wheel"],
            env = {
                "BINDINGS": "$(rlocationpath %s)" % bindings,
                "INTERPRETER": "$(rlocationpath %s)" % installed_interpreter(version),
                "NUMPY": Label(numpy).workspace_name,
                "PYTHON_VERSION": version,
            },
            deps = [":wheel_program"],
        )
