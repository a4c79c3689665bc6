"""//:dist: one archive per platform."""

load("//platforms:platforms.bzl", "platform_name", "platform_select")
load("//tools/bazel:python.bzl", "with_python_headers")
load("//tools/bazel:target_python.bzl", "python_select")
load("//tools/cuda:cuda.bzl", "SmListInfo")
load(":components.bzl", "components")

def _dist_archive_impl(ctx):
    folder = "edge_llm_plugins-%s-%s" % (ctx.attr.version, ctx.attr.platform)
    archive = ctx.actions.declare_file(folder + ".tar.gz")
    facts = {
        "cpu": ctx.attr.cpu,
        "cuda": ctx.attr.cuda,
        "glibc": ctx.attr.glibc,
        "platform": ctx.attr.platform,
        "python": ctx.attr.python,
        "sms": ctx.attr._sms[SmListInfo].sms or ctx.attr.sms,
        "version": ctx.attr.version,
    }
    args = ctx.actions.args()
    args.add("--output", archive)
    args.add("--folder", folder)
    args.add("--facts", json.encode(facts))
    args.add("--components", ctx.attr.components)
    args.add("--kernels", ctx.file._kernels)
    for target, destination in ctx.attr.contents.items():
        for file in target.files.to_list():
            args.add_joined([destination, file], join_with = "=")

    # Both come as the same note where there are no headers of the target's Python.
    for file in depset(ctx.files.with_python).to_list():
        destination = "" if file.extension == "txt" else "python/"
        args.add_joined([destination + file.basename, file], join_with = "=")
    ctx.actions.run(
        arguments = [args],
        executable = ctx.executable._make_archive,
        inputs = ctx.files.contents + ctx.files.with_python + [ctx.file._kernels],
        mnemonic = "DistArchive",
        outputs = [archive],
    )
    return [DefaultInfo(files = depset([archive]))]

_dist_archive = rule(
    implementation = _dist_archive_impl,
    attrs = {
        "components": attr.string(doc = "Rows of components.bzl as JSON."),
        "contents": attr.label_keyed_string_dict(
            allow_files = True,
            doc = "What is packed, and where to; a destination that ends with / is a folder.",
        ),
        "cpu": attr.string(),
        "cuda": attr.string(),
        "glibc": attr.string(),
        "platform": attr.string(),
        "python": attr.string(),
        "sms": attr.string_list(),
        "version": attr.string(),
        "with_python": attr.label_list(doc = "What needs the headers of the target's Python, or why they are missing."),
        "_kernels": attr.label(allow_single_file = True, default = "//kernels:manifest"),
        "_make_archive": attr.label(cfg = "exec", default = "//tools/dist:make_archive", executable = True),
        "_sms": attr.label(default = "//tools/cuda:sms"),
    },
)

def dist_archive(name, version, contents, with_python, **kwargs):
    """Packs edge_llm_plugins-<version>-<platform>.tar.gz.

    Args:
      name: the target.
      version: the version that is released.
      contents: a dict from label to destination in the archive.
      with_python: names for with_python_headers(): what is packed where the target's Python has headers here.
      **kwargs: common attributes.
    """
    _dist_archive(
        name = name,
        components = platform_select(lambda row: json.encode(components(row["cuda"]))),
        contents = contents,
        cpu = platform_select(lambda row: row["cpu"]),
        cuda = platform_select(lambda row: row["cuda"]),
        glibc = platform_select(lambda row: row["glibc"]),
        platform = platform_name(),
        python = python_select(lambda version: version),
        sms = platform_select(lambda row: row["sms"]),
        version = version,
        with_python = python_select(lambda version: [with_python_headers(name, version) for name in with_python]),
        **kwargs
    )
