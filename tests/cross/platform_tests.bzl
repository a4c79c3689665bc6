"""What is tested of each platform that only cross builds reach."""

load("//kernels:variants.bzl", "SMS")
load("//platforms:platforms.bzl", "PLATFORMS")
load("//tools/bazel:defs.bzl", "py_test", "requirement")
load("//tools/bazel:transition.bzl", "for_platform")

_CUOBJDUMP = "@pypi_nvidia_cuda_cuobjdump//:cuobjdump"
_QEMU = "@qemu//:usr/bin/qemu-aarch64"
_LIBRARIES = ["@qemu//:usr/lib/aarch64-linux-gnu/%s" % name for name in [
    "ld-linux-aarch64.so.1",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
]]

def newer_gpu(platform):
    """The emulated GPU of the first SM that is newer than all of a platform's, for which it has PTX alone.

    Args:
      platform: a row of the table of platforms.

    Returns:
      Its ordinal.
    """
    newest = max([int(sm) for sm in PLATFORMS[platform]["sms"]])
    return [ordinal for ordinal, sm in enumerate(SMS) if int(sm) > newest][0]

def verify_qemu_test(name, platform, size):
    """Runs the C++ verify program of a platform's release under qemu, on the emulator.

    Args:
      name: the target.
      platform: an aarch64 row of the table of platforms.
      size: Bazel's test size.
    """
    for_platform(
        name = name + "_emulator",
        platform = platform,
        tags = ["manual"],
        target = "//tools/ptx_emulator:libptx_emulator_cuda.so",
    )
    py_test(
        name = name,
        size = size,
        srcs = ["verify_qemu_test.py"],
        data = [name + "_emulator", platform + "_dist", _QEMU] + _LIBRARIES,
        env = {
            "ARCHIVE": "$(rlocationpath :%s_dist)" % platform,
            "EMULATOR": "$(rlocationpath :%s_emulator)" % name,
            "LOADER": "$(rlocationpath %s)" % _LIBRARIES[0],
            "NEWER_GPU": str(newer_gpu(platform)),
            "QEMU": "$(rlocationpath %s)" % _QEMU,
        },
        deps = [":unpacked"],
    )

def platform_tests(name, programs):
    """Tests the release of a platform: what its files say, and that they run on its processor.

    Args:
      name: a row of the table of platforms.
      programs: cc_tests that are built for the platform and run there, under qemu; on the host's own processor the
        other tests do that.
    """
    for_platform(
        name = name + "_dist",
        platform = name,
        tags = ["manual"],
        target = "//:dist",
        visibility = ["//tests:__subpackages__"],
    )
    py_test(
        name = name + "_release_test",
        srcs = ["release_test.py"],
        data = [name + "_dist", "//kernels:manifest", _CUOBJDUMP],
        env = {
            "ARCHIVE": "$(rlocationpath :%s_dist)" % name,
            "CUOBJDUMP": "$(rlocationpath %s)" % _CUOBJDUMP,
            "PLATFORM": name,
        },
        deps = [requirement("pyelftools"), requirement("spdx-tools")],
    )
    if PLATFORMS[name]["cpu"] != "aarch64":
        return
    built = []
    for program in programs:
        built.append("%s_%s" % (name, Label(program).name))
        for_platform(name = built[-1], platform = name, tags = ["manual"], target = program, testonly = True)
    py_test(
        name = name + "_qemu_test",
        srcs = ["qemu_test.py"],
        data = [name + "_dist", _QEMU] + _LIBRARIES + built,
        env = {
            "ARCHIVE": "$(rlocationpath :%s_dist)" % name,
            "LOADER": "$(rlocationpath %s)" % _LIBRARIES[0],
            "PROGRAMS": " ".join(["$(rlocationpath :%s)" % target for target in built]),
            "EDGE_LLM_SM": PLATFORMS[name]["sms"][0],
            "QEMU": "$(rlocationpath %s)" % _QEMU,
        },
        deps = [":unpacked"],
    )
