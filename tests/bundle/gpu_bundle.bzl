"""gpu_bundle: numeric tests, and all that they need on a machine with nothing but a GPU and Python."""

load("//kernels:variants.bzl", "SMS")
load("//platforms:platforms.bzl", "platform_name", "platform_select")
load("//tools/bazel:target_python.bzl", "python_select")
load("//tools/cuda:cuda.bzl", "SmListInfo", "ptx_sms")

def _is_of_this_repository(file):
    return not file.short_path.startswith("../")

def _package_files(packages, compiled):
    """Third-party packages as on sys.path: path to file, with or without what is compiled."""
    files = {}
    for file in depset(transitive = [package[DefaultInfo].default_runfiles.files for package in packages]).to_list():
        # "../<repository>/<path>"
        path = file.short_path.split("/", 2)[2]
        if (compiled or file.extension != "so") and not path.startswith("bin/"):
            files["site-packages/" + path] = file
    return files

def _init_files(ctx, files):
    """An empty __init__.py per folder of Python files, so that no package of the machine hides it."""
    empty = ctx.actions.declare_file(ctx.label.name + "/__init__.py")
    ctx.actions.write(empty, "")
    folders = {}
    for path in files:
        if path.endswith(".py"):
            parts = path.split("/")[:-1]
            for depth in range(len(parts)):
                folders["/".join(parts[:depth + 1]) + "/__init__.py"] = empty
    return folders

def _gpu_bundle_impl(ctx):
    own = {file.short_path: file for file in ctx.files.files if _is_of_this_repository(file)}
    contents = {"run.sh": ctx.file.run, "wheel/" + ctx.file.wheel.basename: ctx.file.wheel}
    contents |= own | _init_files(ctx, own)
    contents |= _package_files(ctx.attr.pure_packages, compiled = False)
    contents |= _package_files(ctx.attr.target_packages, compiled = True)

    folder = "edge_llm_plugins_gpu_bundle-%s-%s-cp%s" % (
        ctx.attr.version,
        ctx.attr.platform,
        ctx.attr.python.replace(".", ""),
    )
    archive = ctx.actions.declare_file(folder + ".tar.gz")
    args = ctx.actions.args()
    args.add("--output", archive)
    args.add("--folder", folder)
    args.add("--facts", json.encode({
        "cpu": ctx.attr.cpu,
        "platform": ctx.attr.platform,
        "python": ctx.attr.python,
        "ptx_sms": ctx.attr._sms[SmListInfo].sms or ctx.attr.ptx_sms,
        "sms": ctx.attr._sms[SmListInfo].sms or ctx.attr.sms,
        "version": ctx.attr.version,
    }))
    args.add_all(["%s=%s" % (path, file.path) for path, file in contents.items()])
    args.use_param_file("@%s")
    args.set_param_file_format("multiline")
    ctx.actions.run(
        arguments = [args],
        executable = ctx.executable._make_archive,
        inputs = contents.values(),
        mnemonic = "GpuBundle",
        outputs = [archive],
    )
    return [DefaultInfo(files = depset([archive]), runfiles = ctx.runfiles([archive]))]

_gpu_bundle = rule(
    implementation = _gpu_bundle_impl,
    attrs = {
        "cpu": attr.string(),
        "files": attr.label_list(allow_files = True, doc = "Packed under their paths in this repository."),
        "platform": attr.string(),
        "python": attr.string(),
        "ptx_sms": attr.string_list(),
        "pure_packages": attr.label_list(doc = "Third-party, without what is compiled for the host."),
        "run": attr.label(allow_single_file = True, doc = "The script that runs the tests."),
        "sms": attr.string_list(),
        "target_packages": attr.label_list(doc = "Third-party, for the target."),
        "version": attr.string(),
        "wheel": attr.label(allow_single_file = True),
        "_make_archive": attr.label(cfg = "exec", default = "//tools/dist:make_archive", executable = True),
        "_sms": attr.label(default = "//tools/cuda:sms"),
    },
)

def gpu_bundle(name, **kwargs):
    """Packs edge_llm_plugins_gpu_bundle-<version>-<platform>-<python>.tar.gz.

    Args:
      name: the target.
      **kwargs: attributes of the rule; the facts of the platform and its Python are set here.
    """
    _gpu_bundle(
        name = name,
        cpu = platform_select(lambda row: row["cpu"]),
        platform = platform_name(),
        python = python_select(lambda version: version),
        ptx_sms = ptx_sms(SMS),
        sms = platform_select(lambda row: row["sms"]),
        **kwargs
    )
