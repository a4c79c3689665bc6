"""The user's own Python: interpreter, headers and tags, as a repository."""

SUPPORTED_PYTHONS = ["3.10", "3.11", "3.12", "3.13"]

_QUERY = """
import sys, sysconfig
print(sys.executable)
print("%d.%d" % sys.version_info[:2])
print(sysconfig.get_paths()["include"])
print(sysconfig.get_config_var("EXT_SUFFIX"))
"""

def find_python(ctx):
    """Finds the Python that builds, tests and downloads.

    Args:
      ctx: the repository context.

    Returns:
      A struct of its path, version ("3.11"), include folder and extension suffix.
    """
    python = ctx.os.environ.get("EDGE_LLM_PYTHON") or ctx.which("python3")
    if not python:
        fail("no python3 on PATH; install Python %s or set EDGE_LLM_PYTHON" % " or ".join(SUPPORTED_PYTHONS))
    result = ctx.execute([python, "-c", _QUERY])
    if result.return_code:
        fail("%s does not run: %s" % (python, result.stderr))
    executable, version, include, suffix = result.stdout.strip().split("\n")
    if version not in SUPPORTED_PYTHONS:
        fail("%s is Python %s; supported are %s: set EDGE_LLM_PYTHON to one of them" % (
            executable,
            version,
            ", ".join(SUPPORTED_PYTHONS),
        ))
    return struct(path = executable, version = version, include = include, suffix = suffix)

_BUILD = """
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")

package(default_visibility = ["//visibility:public"])

py_runtime(name = "runtime", interpreter_path = "{path}", python_version = "PY3")
py_runtime_pair(name = "runtime_pair", py3_runtime = ":runtime")
toolchain(
    name = "toolchain",
    toolchain = ":runtime_pair",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
cc_library(name = "headers", hdrs = glob(["include/**/*.h"]), includes = {includes})
"""

def _fetch_headers(ctx, version):
    """Unpacks Debian's libpython<version>-dev, for an interpreter that has no headers beside it."""
    ctx.report_progress("Python.h: apt-get download libpython%s-dev" % version)
    result = ctx.execute([ctx.path(ctx.attr._fetch_headers), version, "include"], timeout = 600)
    if result.return_code:
        fail("Python %s has no Python.h, and Debian's libpython%s-dev could not be had: %s" % (
            version,
            version,
            result.stderr,
        ))

def _local_python_impl(ctx):
    python = find_python(ctx)
    includes = ["include"]
    if ctx.path(python.include).get_child("Python.h").exists:
        ctx.symlink(python.include, "include")
    else:
        _fetch_headers(ctx, python.version)
        includes = ["include", "include/python" + python.version]
    ctx.file("WORKSPACE", "")
    ctx.file("BUILD.bazel", _BUILD.format(path = python.path, includes = repr(includes)))
    ctx.file("defs.bzl", "PYTHON_VERSION = %r\nPYTHON_TAG = %r\nEXT_SUFFIX = %r\n" % (
        python.version,
        "cp" + python.version.replace(".", ""),
        python.suffix,
    ))

local_python = repository_rule(
    implementation = _local_python_impl,
    attrs = {"_fetch_headers": attr.label(default = "//tools/bazel:fetch_python_headers.sh")},
    doc = "Declares @local_python: :toolchain, :headers, and defs.bzl with the version and the tags.",
    environ = ["EDGE_LLM_PYTHON", "PATH"],
    local = True,
)
