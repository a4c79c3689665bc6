"""One test per kernel variant."""

load("//kernels:variants.bzl", "SMS")
load("//platforms:platforms.bzl", "HOST", "PLATFORMS")
load("//tools/bazel:defs.bzl", "py_test")
load("//tools/bazel:transition.bzl", "for_platform")

def _not_for_host(sms):
    return [sm for sm in sms if PLATFORMS[HOST]["cuda"] not in SMS[sm]["cuda"]]

# The platforms whose SMs the host's CUDA release does not compile: their PTX comes from their own.
_ELSEWHERE = {
    platform: _not_for_host(row["sms"])
    for platform, row in PLATFORMS.items()
    if _not_for_host(row["sms"])
}

def variant_tests(name, variants, test_of, deps):
    """Declares <variant>_test for each variant: it runs the images of all SMs, and depends on no other variant.

    Its pytest file is a copy that is named after the variant, so that one run of pytest can take several of them.

    Args:
      name: a filegroup of all those copies, and the rows that they read.
      variants: a table of kernels/variants.bzl.
      test_of: a dict from the kind of a variant to its pytest file.
      deps: what the pytest files import.
    """
    for variant, row in variants.items():
        native.filegroup(
            name = variant + "_ptx",
            testonly = True,
            srcs = ["//kernels:ptx_images"],
            output_group = variant,
        )
        for platform, sms in _ELSEWHERE.items():
            for_platform(
                name = "%s_%s_ptx" % (variant, platform),
                testonly = True,
                platform = platform,
                sms = sms,
                tags = ["manual"],
                target = variant + "_ptx",
            )
        native.genrule(
            name = variant + "_test_file",
            srcs = [test_of[row["kind"]]],
            outs = [variant + "_test.py"],
            cmd = "cp $< $@",
        )
        py_test(
            name = variant + "_test",
            srcs = [variant + "_test.py"],
            data = [
                ":%s_ptx" % variant,
                "//kernels:%s.json" % variant,
            ] + ["%s_%s_ptx" % (variant, platform) for platform in _ELSEWHERE],
            deps = deps,
        )
    native.filegroup(
        name = name,
        srcs = [variant + "_test.py" for variant in variants] + ["//kernels:%s.json" % variant for variant in variants],
        visibility = ["//tests:__pkg__"],
    )
