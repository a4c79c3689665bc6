"""The macros that BUILD files of this repository use instead of the bare rules."""

load("//tools/bazel:wheels.bzl", _requirement = "requirement")

requirement = _requirement

def cc_library(name, **kwargs):
    """A C++ library."""
    native.cc_library(name = name, **kwargs)

def cc_binary(name, **kwargs):
    """A C++ program."""
    native.cc_binary(name = name, **kwargs)

def cc_shared_object(name, linkopts = [], **kwargs):
    """A shared object: exports only what is marked so, and refuses undefined symbols."""
    native.cc_binary(
        name = name,
        linkopts = ["-Wl,-z,defs", "-Wl,-soname," + name] + linkopts,
        linkshared = True,
        **kwargs
    )

def cc_test(name, deps = [], size = "small", **kwargs):
    """A C++ test with the macros and the main() of //tools/testing."""
    native.cc_test(
        name = name,
        size = size,
        deps = deps + ["//tools/testing"],
        **kwargs
    )

def py_library(name, **kwargs):
    """A Python library."""
    native.py_library(name = name, **kwargs)

def py_binary(name, **kwargs):
    """A Python program."""
    native.py_binary(name = name, **kwargs)

def py_test(name, srcs, deps = [], args = [], size = "small", **kwargs):
    """A test that runs its sources under pytest, with NumPy at hand.

    Args:
      name: the target.
      srcs: the pytest files.
      deps: libraries.
      args: further arguments for pytest.
      size: Bazel's test size.
      **kwargs: common attributes.
    """
    native.py_test(
        name = name,
        size = size,
        srcs = srcs + ["//tools/testing:run_pytest.py"],
        args = ["$(locations %s)" % source for source in srcs] + args,
        main = "//tools/testing:run_pytest.py",
        deps = deps + [requirement("numpy"), requirement("pytest")],
        **kwargs
    )
