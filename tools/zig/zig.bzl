"""zig as a hermetic C++ cross compiler: wrappers and a cc_toolchain per target."""

load("@bazel_tools//tools/build_defs/cc:action_names.bzl", "ACTION_NAMES")
load(
    "@bazel_tools//tools/cpp:cc_toolchain_config_lib.bzl",
    "action_config",
    "feature",
    "flag_group",
    "flag_set",
    "tool",
)
load("//platforms:platforms.bzl", "PLATFORMS", "glibc_constraint")
load("//tools/bazel:transition.bzl", "without_flags")

_SDK = "external/pypi_ziglang/ziglang"

# What every link asks for. zig makes libc++ anew for each other set of code generation flags.
_LINK_FLAGS = ["-O2", "-Wl,--gc-sections", "-Wl,--strip-all"]

# Actions run in the execution root, so the SDK is named relative to it. zig's cache is as short-lived as the action, as
# in compile.sh.
_WRAPPER = """#!/bin/sh
set -eu
cache="$(mktemp -d)"
trap 'rm -rf "$cache"' EXIT
export ZIG_LIB_DIR="{sdk}/lib" ZIG_GLOBAL_CACHE_DIR="$cache" ZIG_LOCAL_CACHE_DIR="$cache"
{body}
"""

# zig makes libc++, the start files and the stubs of the C library when it first links for a target, which takes 45 s:
# this keeps them for all other links.
_MAKE_RUNTIME = """echo 'int main() {{ return 0; }}' >"$cache/main.cc"
"{sdk}/zig" c++ -target {target} {link_flags} "$cache/main.cc" -o "$cache/main"
"{sdk}/zig" c++ -target {target} {link_flags} -shared -fPIC "$cache/main.cc" -o "$cache/main.so"
tar -cf "$1" -C "$cache" h o"""

_ARCHIVE = '"{sdk}/zig" ar "$@"'

_LINK = """tar -xf "{runtime}" -C "$cache"
"{sdk}/zig" c++ -target {target} "$@\""""

def _zig_wrapper_impl(ctx):
    script = ctx.actions.declare_file(ctx.label.name)
    runtime = ctx.file.runtime.path if ctx.file.runtime else None
    body = ctx.attr.body.format(
        link_flags = " ".join(_LINK_FLAGS),
        runtime = runtime,
        sdk = _SDK,
        target = ctx.attr.target,
    )
    ctx.actions.write(script, _WRAPPER.format(body = body, sdk = _SDK), is_executable = True)
    return [DefaultInfo(executable = script, files = depset([script] + ctx.files.runtime))]

_zig_wrapper = rule(
    implementation = _zig_wrapper_impl,
    attrs = {
        "body": attr.string(mandatory = True),
        "runtime": attr.label(allow_single_file = True, cfg = without_flags, doc = "Made by zig_runtime."),
        "target": attr.string(doc = "Such as x86_64-linux-gnu.2.28."),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    doc = "A script that calls zig with its library and cache folders set.",
    executable = True,
)

def _zig_runtime_impl(ctx):
    runtime = ctx.actions.declare_file(ctx.label.name + ".tar")
    args = ctx.actions.args()
    args.add(runtime)
    ctx.actions.run(
        arguments = [args],
        executable = ctx.executable.maker,
        execution_requirements = {"supports-path-mapping": "1"},
        inputs = ctx.files._sdk,
        mnemonic = "ZigRuntime",
        outputs = [runtime],
        progress_message = "Making libc++ for %s" % ctx.label.name,
    )
    return [DefaultInfo(files = depset([runtime]))]

_zig_runtime = rule(
    implementation = _zig_runtime_impl,
    attrs = {
        "maker": attr.label(cfg = "exec", executable = True, mandatory = True),
        "_sdk": attr.label(default = "@pypi_ziglang//:sdk"),
    },
    doc = "What zig links into every program of a target: its cache after a first link, as a tar archive.",
)

_CXX_ACTIONS = [
    ACTION_NAMES.cpp_compile,
    ACTION_NAMES.cpp_header_parsing,
    ACTION_NAMES.linkstamp_compile,
]

_COMPILE_ACTIONS = _CXX_ACTIONS + [
    ACTION_NAMES.c_compile,
    ACTION_NAMES.assemble,
    ACTION_NAMES.preprocess_assemble,
]

_LINK_ACTIONS = [
    ACTION_NAMES.cpp_link_executable,
    ACTION_NAMES.cpp_link_dynamic_library,
    ACTION_NAMES.cpp_link_nodeps_dynamic_library,
]

def _flags(name, actions, flags, enabled = True):
    return feature(
        name = name,
        enabled = enabled,
        flag_sets = [flag_set(actions = actions, flag_groups = [flag_group(flags = flags)])],
    )

# The checks of UndefinedBehaviorSanitizer that need no C++ runtime.
_UNDEFINED = [
    "alignment",
    "array-bounds",
    "bool",
    "builtin",
    "enum",
    "float-cast-overflow",
    "integer-divide-by-zero",
    "nonnull-attribute",
    "null",
    "pointer-overflow",
    "return",
    "returns-nonnull-attribute",
    "shift",
    "signed-integer-overflow",
    "unreachable",
    "vla-bound",
]

def _zig_toolchain_config_impl(ctx):
    actions = [
        action_config(action_name = name, enabled = True, tools = [tool(tool = wrapper)])
        for wrapper, names in [(ctx.executable.compiler, _COMPILE_ACTIONS), (ctx.executable.linker, _LINK_ACTIONS)]
        for name in names
    ]
    actions.append(action_config(
        action_name = ACTION_NAMES.cpp_link_static_library,
        enabled = True,
        implies = ["archiver_flags"],
        tools = [tool(tool = ctx.executable.archiver)],
    ))
    return cc_common.create_cc_toolchain_config_info(
        ctx = ctx,
        abi_libc_version = "unknown",
        abi_version = "unknown",
        action_configs = actions,
        compiler = "clang",
        cxx_builtin_include_directories = [_SDK + "/lib"],
        features = [
            feature(name = "supports_pic", enabled = True),
            _flags("compile_flags", _COMPILE_ACTIONS, [
                "-target",
                ctx.attr.target,
                "-O2",
                "-g0",
                "-fPIC",
                # zig turns the undefined-behaviour traps of debug builds on by itself.
                "-fno-sanitize=undefined",
                "-fvisibility=hidden",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-no-canonical-prefixes",
                # The same bytes wherever and whenever it is built.
                "-ffile-prefix-map=./=",
                "-Wno-builtin-macro-redefined",
                "-D__DATE__=\"redacted\"",
                "-D__TIME__=\"redacted\"",
                "-D__TIMESTAMP__=\"redacted\"",
            ]),
            _flags("cxx_flags", _CXX_ACTIONS, ["-std=c++17", "-fvisibility-inlines-hidden"]),
            # What a fuzzer of tools/testing/fuzz.bzl is compiled with.
            _flags("fuzzing", _COMPILE_ACTIONS, [
                # Each in a flag of its own: zig passes over a list.
                "-fsanitize=fuzzer-no-link",
                "-fsanitize=address",
                # By their names, as zig does not take "undefined" back once it was refused.
                "-fsanitize=" + ",".join(_UNDEFINED),
                # A report with the place in the source instead of a trap.
                "-fno-sanitize-trap=all",
                "-fno-sanitize-recover=all",
            ], enabled = False),
            _flags("link_flags", _LINK_ACTIONS, _LINK_FLAGS),
        ],
        host_system_name = "local",
        target_cpu = ctx.attr.cpu,
        target_libc = "glibc",
        target_system_name = ctx.attr.target,
        toolchain_identifier = "zig-" + ctx.attr.target,
    )

_zig_toolchain_config = rule(
    implementation = _zig_toolchain_config_impl,
    attrs = {
        "archiver": attr.label(cfg = "exec", executable = True, mandatory = True),
        "compiler": attr.label(allow_single_file = True, cfg = "exec", executable = True, mandatory = True),
        "cpu": attr.string(mandatory = True),
        "linker": attr.label(cfg = "exec", executable = True, mandatory = True),
        "target": attr.string(mandatory = True),
    },
    provides = [CcToolchainConfigInfo],
)

def zig_toolchains():
    """Declares a C++ toolchain for each (cpu, glibc) of the platform table."""
    sdk = "@pypi_ziglang//:sdk"
    _zig_wrapper(name = "ar", body = _ARCHIVE)
    for cpu, glibc in {(row["cpu"], row["glibc"]): None for row in PLATFORMS.values()}:
        name = "%s_glibc_%s" % (cpu, glibc.replace(".", "_"))
        target = "%s-linux-gnu.%s" % (cpu, glibc)
        _zig_wrapper(name = "make_runtime_" + name, body = _MAKE_RUNTIME, target = target)
        _zig_runtime(name = "runtime_" + name, maker = "make_runtime_" + name)
        _zig_wrapper(name = "link_" + name, body = _LINK, runtime = "runtime_" + name, target = target)
        native.filegroup(name = name + "_compiler", srcs = ["compile.sh", sdk])
        native.filegroup(name = name + "_linker", srcs = ["ar", "link_" + name, sdk])
        native.filegroup(name = name + "_files", srcs = [name + "_compiler", name + "_linker"])
        _zig_toolchain_config(
            name = name + "_config",
            archiver = "ar",
            compiler = "compile.sh",
            cpu = cpu,
            linker = "link_" + name,
            target = target,
        )
        native.cc_toolchain(
            name = name + "_cc",
            all_files = name + "_files",
            ar_files = name + "_linker",
            as_files = name + "_compiler",
            compiler_files = name + "_compiler",
            dwp_files = name + "_files",
            linker_files = name + "_linker",
            objcopy_files = name + "_files",
            strip_files = name + "_files",
            supports_param_files = 1,
            toolchain_config = name + "_config",
        )
        native.toolchain(
            name = name,
            exec_compatible_with = ["@platforms//os:linux", "@platforms//cpu:x86_64"],
            target_compatible_with = ["@platforms//os:linux", "@platforms//cpu:" + cpu, glibc_constraint(glibc)],
            toolchain = name + "_cc",
            toolchain_type = "@bazel_tools//tools/cpp:toolchain_type",
        )
