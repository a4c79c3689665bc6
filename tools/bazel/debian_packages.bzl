"""Files of Debian packages as a repository, for tools that no wheel carries."""

load("//tools/bazel:wheels.bzl", "wheel_cache_folder")

def _debian_packages_impl(ctx):
    ctx.report_progress("Debian packages " + ", ".join(ctx.attr.packages))
    result = ctx.execute([
        ctx.path(ctx.attr._fetch_debian_packages),
        wheel_cache_folder(ctx),
        ctx.attr.suite,
        ".",
    ] + ["%s=%s" % (name, ",".join(paths)) for name, paths in ctx.attr.packages.items()], timeout = 3600)
    if result.return_code:
        fail(result.stderr)
    ctx.file("WORKSPACE", "")
    ctx.file("BUILD.bazel", "exports_files(%r)\n" % [path for paths in ctx.attr.packages.values() for path in paths])

debian_packages = repository_rule(
    implementation = _debian_packages_impl,
    attrs = {
        "packages": attr.string_list_dict(doc = "PACKAGE:ARCHITECTURE to the paths of the files that are wanted."),
        "suite": attr.string(doc = "A stable suite, such as trixie.", mandatory = True),
        "_apt": attr.label(default = "//tools/bazel:bootstrap/apt.sh"),
        "_fetch_debian_packages": attr.label(default = "//tools/bazel:fetch_debian_packages.sh"),
    },
    environ = ["EDGE_LLM_DEBIAN_MIRROR", "EDGE_LLM_WHEEL_CACHE"],
)
