"""python_wheel: packs files into a wheel whose bytes depend on them alone."""

load("//platforms:platforms.bzl", "platform_select")
load("//tools/bazel:target_python.bzl", "python_select")

def _python_wheel_impl(ctx):
    # Unlike the package's name, the file name of a wheel has no hyphen in its parts.
    stem = ctx.attr.distribution.replace("-", "_")
    tag = "%s-%s-%s" % (ctx.attr.python_tag, ctx.attr.python_tag, ctx.attr.platform_tag)
    wheel = ctx.actions.declare_file("%s-%s-%s.whl" % (stem, ctx.attr.version, tag))
    args = ctx.actions.args()
    args.add("--output", wheel)
    args.add("--distribution", ctx.attr.distribution)
    args.add("--version", ctx.attr.version)
    args.add("--tag", tag)
    args.add("--summary", ctx.attr.summary)
    args.add("--license", ctx.file.license)
    args.add_all(ctx.attr.requires, format_each = "--requires=%s")
    args.add_all(ctx.attr.console_scripts, format_each = "--console_script=%s")
    for extra, requirements in ctx.attr.extras.items():
        args.add_all(requirements, format_each = "--extra=" + extra + "=%s")
    for target, folder in ctx.attr.contents.items():
        for file in target.files.to_list():
            args.add_joined([folder + file.basename, file], join_with = "=")
    ctx.actions.run(
        arguments = [args],
        executable = ctx.executable._make_wheel,
        inputs = ctx.files.contents + [ctx.file.license],
        mnemonic = "PythonWheel",
        outputs = [wheel],
    )
    return [DefaultInfo(files = depset([wheel]), runfiles = ctx.runfiles([wheel]))]

_python_wheel = rule(
    implementation = _python_wheel_impl,
    attrs = {
        "console_scripts": attr.string_list(doc = "Commands, as NAME=MODULE:FUNCTION."),
        "contents": attr.label_keyed_string_dict(
            allow_files = True,
            doc = "What is packed, and the folder it goes to (ends with a slash).",
        ),
        "distribution": attr.string(mandatory = True, doc = "The name that pip knows."),
        "extras": attr.string_list_dict(doc = "Requirements of the parts that need more."),
        "license": attr.label(allow_single_file = True, mandatory = True),
        "platform_tag": attr.string(mandatory = True, doc = "Such as manylinux_2_28_x86_64."),
        "python_tag": attr.string(mandatory = True, doc = "Such as cp311; the ABI tag is the same."),
        "requires": attr.string_list(doc = "Requirements, as pip writes them."),
        "summary": attr.string(mandatory = True),
        "version": attr.string(mandatory = True),
        "_make_wheel": attr.label(cfg = "exec", default = "//tools/wheel:make_wheel", executable = True),
    },
)

def _manylinux_tag(row):
    return "manylinux_%s_%s" % (row["glibc"].replace(".", "_"), row["cpu"])

def _cpython_tag(version):
    return "cp" + version.replace(".", "")

def python_wheel(name, **kwargs):
    """A binary wheel for the target platform and its Python, named as PEP 427 wants it.

    Args:
      name: the target.
      **kwargs: attributes of the rule; the tags are set here.
    """
    _python_wheel(
        name = name,
        platform_tag = platform_select(_manylinux_tag),
        python_tag = python_select(_cpython_tag),
        **kwargs
    )
