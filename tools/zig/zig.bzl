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

_SDK = "external/pypi_ziglang/ziglang"

# Actions run in the execution root, so the SDK is named relative to it.
_WRAPPER = """#!/bin/sh
set -eu
cache="${{ZIG_GLOBAL_CACHE_DIR:-}}"
if [ ! -d "$cache" ]; then
  echo "zig needs its cache folder ('$cache' is none): run ./bazelw once, which makes it and writes .bazelrc.user" >&2
  exit 1
fi
export ZIG_LIB_DIR="{sdk}/lib" ZIG_GLOBAL_CACHE_DIR="$cache" ZIG_LOCAL_CACHE_DIR="$cache"
{body}
"""

# Bazel wants every header of the .d file declared, but zig's own come as one directory: take them out of it.
_COMPILE = """depfile=
previous=
for argument in "$@"; do
  if [ "$previous" = -MF ]; then depfile="$argument"; fi
  previous="$argument"
done
"{sdk}/zig" c++ -target {target} "$@"
if [ -n "$depfile" ]; then sed -i -E 's#[^ ]*/ziglang/lib/[^ ]*##g' "$depfile"; fi
"""

def _zig_wrapper_impl(ctx):
    script = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(script, _WRAPPER.format(sdk = _SDK, body = ctx.attr.body), is_executable = True)
    return [DefaultInfo(executable = script, files = depset([script]))]

_zig_wrapper = rule(
    implementation = _zig_wrapper_impl,
    attrs = {"body": attr.string(mandatory = True)},
    doc = "A script that calls zig with its library and cache folders set.",
    executable = True,
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

def _flags(name, actions, flags):
    return feature(
        name = name,
        enabled = True,
        flag_sets = [flag_set(actions = actions, flag_groups = [flag_group(flags = flags)])],
    )

def _zig_toolchain_config_impl(ctx):
    compiler = tool(tool = ctx.file.compiler)
    actions = [
        action_config(action_name = name, enabled = True, tools = [compiler])
        for name in _COMPILE_ACTIONS + _LINK_ACTIONS
    ]
    actions.append(action_config(
        action_name = ACTION_NAMES.cpp_link_static_library,
        enabled = True,
        implies = ["archiver_flags"],
        tools = [tool(tool = ctx.file.archiver)],
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
            # One set of code generation flags for every link: zig builds libc++ anew for each other set (45 s).
            _flags("link_flags", _LINK_ACTIONS, ["-O2", "-Wl,--gc-sections", "-Wl,--strip-all"]),
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
        "archiver": attr.label(allow_single_file = True, cfg = "exec", mandatory = True),
        "compiler": attr.label(allow_single_file = True, cfg = "exec", mandatory = True),
        "cpu": attr.string(mandatory = True),
        "target": attr.string(mandatory = True),
    },
    provides = [CcToolchainConfigInfo],
)

def zig_toolchains():
    """Declares a C++ toolchain for each (cpu, glibc) of the platform table."""
    _zig_wrapper(name = "ar", body = '"%s/zig" ar "$@"' % _SDK)
    for cpu, glibc in {(row["cpu"], row["glibc"]): None for row in PLATFORMS.values()}:
        name = "%s_glibc_%s" % (cpu, glibc.replace(".", "_"))
        target = "%s-linux-gnu.%s" % (cpu, glibc)
        files = ":" + name + "_files"
        _zig_wrapper(name = "cxx_" + name, body = _COMPILE.format(sdk = _SDK, target = target))
        native.filegroup(name = name + "_files", srcs = [":ar", ":cxx_" + name, "@pypi_ziglang//:sdk"])
        _zig_toolchain_config(
            name = name + "_config",
            archiver = ":ar",
            compiler = ":cxx_" + name,
            cpu = cpu,
            target = target,
        )
        native.cc_toolchain(
            name = name + "_cc",
            all_files = files,
            ar_files = files,
            as_files = files,
            compiler_files = files,
            dwp_files = files,
            linker_files = files,
            objcopy_files = files,
            strip_files = files,
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
