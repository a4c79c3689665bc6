"""The repository's own sources as one archive, for tests that read them as text.

A test sees only the files that it declares, and a label per package would be a list that somebody forgets to extend.
So this repository rule watches the whole tree and packs it with fixed times and owners: a change of any file
makes another archive and reruns the tests, and where nothing changed their results come from the cache.
"""

load("//tools/bazel:python.bzl", "find_python")

def _source_tree_impl(ctx):
    root = ctx.workspace_root
    packer = ctx.path(ctx.attr._pack_sources)
    result = ctx.execute([find_python(ctx).path, packer, root, "sources.tar"])
    if result.return_code:
        fail(result.stderr)
    for entry in root.readdir():
        # git changes its folder all the time, and Bazel's links lead out of the tree.
        if entry.basename == ".git" or entry.basename.startswith("bazel-"):
            continue
        if entry.is_dir:
            ctx.watch_tree(entry)
        else:
            ctx.watch(entry)
    ctx.file("WORKSPACE", "")
    ctx.file("BUILD.bazel", 'exports_files(["sources.tar"])\n')

source_tree = repository_rule(
    implementation = _source_tree_impl,
    attrs = {"_pack_sources": attr.label(default = "//tests/house:pack_sources.py")},
    doc = "Declares @NAME//:sources.tar, every file of the working tree that .gitignore does not name.",
    environ = ["EDGE_LLM_PYTHON"],
    local = True,
)
