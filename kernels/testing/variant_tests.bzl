"""One test per kernel variant."""

load("//tools/bazel:defs.bzl", "py_test")

def variant_tests(variants, test_of, deps):
    """Declares <variant>_test for each variant: it runs the images of all SMs, and depends on no other variant.

    Args:
      variants: a table of kernels/variants.bzl.
      test_of: a dict from the kind of a variant to its pytest file.
      deps: what the pytest files import.
    """
    for name, row in variants.items():
        native.filegroup(
            name = name + "_ptx",
            testonly = True,
            srcs = ["//kernels:ptx_images"],
            output_group = name,
        )
        py_test(
            name = name + "_test",
            srcs = [test_of[row["kind"]]],
            data = [
                ":%s_ptx" % name,
                "//kernels:%s.json" % name,
            ],
            env = {"KERNEL_VARIANT": name},
            deps = deps,
        )
