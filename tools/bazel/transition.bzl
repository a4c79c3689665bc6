"""Builds a target for another platform or Python than the one of the command line, or for any."""

def _platform_transition_impl(_settings, attr):
    return {
        "//command_line_option:platforms": "//platforms:" + attr.platform,
        # The user's Python and SMs are those of the user's platform; this one has its own.
        "//tools/bazel:python": "",
        "//tools/cuda:sms": attr.sms,
    }

_platform_transition = transition(
    implementation = _platform_transition_impl,
    inputs = [],
    outputs = ["//command_line_option:platforms", "//tools/bazel:python", "//tools/cuda:sms"],
)

def _linked_outputs_impl(ctx):
    # A link in a folder of its own: two platforms' files have the same name otherwise, and one would hide the other.
    files = []
    for file in ctx.files.target:
        link = ctx.actions.declare_file("%s/%s" % (ctx.label.name, file.basename))
        ctx.actions.symlink(output = link, target_file = file)
        files.append(link)
    return [DefaultInfo(files = depset(files), runfiles = ctx.runfiles(files))]

for_platform = rule(
    implementation = _linked_outputs_impl,
    attrs = {
        "platform": attr.string(doc = "A row of //platforms:platforms.bzl.", mandatory = True),
        "sms": attr.string_list(doc = "The SMs to build for; empty: those of the platform."),
        "target": attr.label(cfg = _platform_transition, mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    doc = "The default outputs of a target, built for a platform, as <name>/<file>.",
)

_python_transition = transition(
    implementation = lambda _settings, attr: {"//tools/bazel:python": attr.python},
    inputs = [],
    outputs = ["//tools/bazel:python"],
)

for_python = rule(
    implementation = _linked_outputs_impl,
    attrs = {
        "python": attr.string(doc = "One of SUPPORTED_PYTHONS.", mandatory = True),
        "target": attr.label(cfg = _python_transition, mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    doc = "The default outputs of a target, built for a Python, as <name>/<file>.",
)

# For what depends on no flag of ours, and is made but once.
without_flags = transition(
    implementation = lambda _settings, _attr: {"//tools/bazel:python": "", "//tools/cuda:sms": []},
    inputs = [],
    outputs = ["//tools/bazel:python", "//tools/cuda:sms"],
)
