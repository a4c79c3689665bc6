"""//:dist: one archive per platform."""

load("//platforms:platforms.bzl", "platform_name", "platform_select")
load("//tools/cuda:cuda.bzl", "SmListInfo")

def _dist_archive_impl(ctx):
    folder = "edge_llm_plugins-%s-%s" % (ctx.attr.version, ctx.attr.platform)
    archive = ctx.actions.declare_file(folder + ".tar.gz")
    facts = {
        "cuda": ctx.attr.cuda,
        "glibc": ctx.attr.glibc,
        "platform": ctx.attr.platform,
        "sms": ctx.attr._sms[SmListInfo].sms or ctx.attr.sms,
        "version": ctx.attr.version,
    }
    args = ctx.actions.args()
    args.add("--output", archive)
    args.add("--folder", folder)
    args.add("--facts", json.encode(facts))
    for target, destination in ctx.attr.contents.items():
        for file in target.files.to_list():
            args.add_joined([destination, file], join_with = "=")
    ctx.actions.run(
        arguments = [args],
        executable = ctx.executable._make_archive,
        inputs = ctx.files.contents,
        mnemonic = "DistArchive",
        outputs = [archive],
    )
    return [DefaultInfo(files = depset([archive]))]

_dist_archive = rule(
    implementation = _dist_archive_impl,
    attrs = {
        "contents": attr.label_keyed_string_dict(
            allow_files = True,
            doc = "What is packed, and where to; a destination that ends with / is a folder.",
        ),
        "cuda": attr.string(),
        "glibc": attr.string(),
        "platform": attr.string(),
        "sms": attr.string_list(),
        "version": attr.string(),
        "_make_archive": attr.label(cfg = "exec", default = "//tools/dist:make_archive", executable = True),
        "_sms": attr.label(default = "//tools/cuda:sms"),
    },
)

def dist_archive(name, version, contents, **kwargs):
    """Packs edge_llm_plugins-<version>-<platform>.tar.gz.

    Args:
      name: the target.
      version: the version that is released.
      contents: a dict, or a select() of one, from label to destination in the archive.
      **kwargs: common attributes.
    """
    _dist_archive(
        name = name,
        contents = contents,
        cuda = platform_select(lambda row: row["cuda"]),
        glibc = platform_select(lambda row: row["glibc"]),
        platform = platform_name(),
        sms = platform_select(lambda row: row["sms"]),
        version = version,
        **kwargs
    )
