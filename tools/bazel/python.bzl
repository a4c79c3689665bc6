"""The user's own Python: interpreter, headers and tags, as a repository."""

SUPPORTED_PYTHONS = ["3.10", "3.11", "3.12", "3.13"]

_QUERY = """
import sys, sysconfig
print(sys.executable)
print("%d.%d" % sys.version_info[:2])
print(sysconfig.get_paths()["include"])
"""

def _ask_python(ctx, python):
    """What an interpreter says of itself: its path, version ("3.11") and include folder; None if it does not run."""
    result = ctx.execute([python, "-c", _QUERY])
    if result.return_code:
        return None
    executable, version, include = result.stdout.strip().split("\n")
    return struct(path = executable, version = version, include = include)

def find_python(ctx):
    """Finds the Python that builds, tests and downloads.

    Args:
      ctx: the repository context.

    Returns:
      A struct of its path, version ("3.11") and include folder.
    """
    python = ctx.os.environ.get("EDGE_LLM_PYTHON") or ctx.which("python3")
    if not python:
        fail("no python3 on PATH; install Python %s or set EDGE_LLM_PYTHON" % " or ".join(SUPPORTED_PYTHONS))
    facts = _ask_python(ctx, python)
    if not facts:
        fail("%s does not run; set EDGE_LLM_PYTHON to a Python that does" % python)
    if facts.version not in SUPPORTED_PYTHONS:
        fail("%s is Python %s; supported are %s: set EDGE_LLM_PYTHON to one of them" % (
            facts.path,
            facts.version,
            ", ".join(SUPPORTED_PYTHONS),
        ))
    return facts

def _local_python_impl(ctx):
    python = find_python(ctx)
    ctx.file("WORKSPACE", "")
    ctx.file("BUILD.bazel", _TOOLCHAIN.format(path = python.path))
    ctx.file("defs.bzl", "PYTHON_VERSION = %r\n" % python.version)

_TOOLCHAIN = """
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")

py_runtime(name = "runtime", interpreter_path = "{path}", python_version = "PY3")
py_runtime_pair(name = "runtime_pair", py3_runtime = ":runtime")
toolchain(
    name = "toolchain",
    toolchain = ":runtime_pair",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
    visibility = ["//visibility:public"],
)
"""

local_python = repository_rule(
    implementation = _local_python_impl,
    doc = "Declares @local_python: :toolchain, and defs.bzl with the version.",
    environ = ["EDGE_LLM_PYTHON", "PATH"],
    local = True,
)

def _installed_pythons(ctx, version):
    """Interpreters that may be of a version: the one that builds, on PATH, and where pyenv and uv keep theirs."""
    environment = ctx.os.environ
    home = environment.get("HOME", "/")
    pythons = [find_python(ctx).path, ctx.which("python" + version)]
    for folder in [
        environment.get("PYENV_ROOT", home + "/.pyenv") + "/versions",
        environment.get("UV_PYTHON_INSTALL_DIR", home + "/.local/share/uv/python"),
    ]:
        if ctx.path(folder).exists:
            pythons += [entry.get_child("bin", "python" + version) for entry in ctx.path(folder).readdir()]
    return [python for python in pythons if python and ctx.path(python).exists]

def _fetch_headers(ctx, version):
    """Unpacks Debian's libpython<version>-dev, for a version without an interpreter that has headers beside it.

    Returns:
      None, or why there is none.
    """
    ctx.report_progress("Python.h: apt-get download libpython%s-dev" % version)
    result = ctx.execute([ctx.path(ctx.attr._fetch_headers), version, "include"], timeout = 600)
    if not result.return_code:
        return None
    reason = (result.stderr.strip() or "exit code %d" % result.return_code).split("\n")[0].replace("'", "")
    return ("no Python.h of Python {0} beside an interpreter on PATH, of pyenv or of uv, nor in the libpython{0}-dev " +
            "of Debian ({1}): install one, such as with uv python install {0}").format(version, reason)

def _python_headers_impl(ctx):
    version = ctx.attr.version
    includes = ["include"]
    installed = [_ask_python(ctx, python) for python in _installed_pythons(ctx, version)]
    installed = [facts for facts in installed if facts and facts.version == version]
    for facts in installed:
        if ctx.path(facts.include).get_child("Python.h").exists:
            ctx.symlink(facts.include, "include")
            break
    reason = None
    if not ctx.path("include").exists:
        reason = _fetch_headers(ctx, version)
        includes.append("include/python" + version)
    ctx.file("WORKSPACE", "")
    ctx.file("interpreter.txt", installed[0].path if installed else "")
    build = _NO_HEADERS.format(reason = reason) if reason else _HEADERS.format(includes = repr(includes))
    build += 'exports_files(["interpreter.txt"])\n'
    for name, target in ctx.attr.needed_by.items():
        actual = ":reason" if reason else "@edge_llm_plugins" + target
        build += _NEEDED_BY.format(name = name, actual = actual)
    ctx.file("BUILD.bazel", build)

_HEADERS = """
cc_library(
    name = "headers",
    hdrs = glob(["include/**/*.h"]),
    includes = {includes},
    visibility = ["//visibility:public"],
)
"""

# What needs headers fails with the reason, and a release goes without it.
_NO_HEADERS = """
genrule(
    name = "no_headers",
    outs = ["Python.h"],
    cmd = "echo '{reason}' >&2; exit 1",
)

cc_library(
    name = "headers",
    hdrs = [":no_headers"],
    includes = ["."],
    visibility = ["//visibility:public"],
)

genrule(
    name = "reason",
    outs = ["NO_WHEEL.txt"],
    cmd = "echo '{reason}' > $@",
)
"""

_NEEDED_BY = """
alias(
    name = "{name}",
    actual = "{actual}",
    visibility = ["//visibility:public"],
)
"""

_python_headers = repository_rule(
    implementation = _python_headers_impl,
    attrs = {
        "needed_by": attr.string_dict(doc = "Names to targets of this repository, each an alias or the reason."),
        "version": attr.string(mandatory = True),
        "_fetch_headers": attr.label(default = "//tools/bazel:fetch_python_headers.sh"),
    },
    environ = ["EDGE_LLM_PYTHON", "HOME", "PATH", "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR"],
    local = True,
)

def python_headers(version):
    """The label of the headers of a Python version."""
    return "@python_headers_%s//:headers" % version.replace(".", "_")

def installed_interpreter(version):
    """The label of a file with the path of an interpreter of a Python version, empty where none is installed."""
    return python_headers(version).replace(":headers", ":interpreter.txt")

def with_python_headers(name, version):
    """The label of a target that needs headers, or of NO_WHEEL.txt with the reason why there are none.

    Args:
      name: a key of needed_by.
      version: of Python.

    Returns:
      The label.
    """
    return python_headers(version).replace(":headers", ":" + name)

def python_header_repositories(needed_by):
    """Declares one repository per supported Python. Each is made when something needs it.

    Args:
      needed_by: names for with_python_headers() to targets.
    """
    for version in SUPPORTED_PYTHONS:
        _python_headers(
            name = Label(python_headers(version)).workspace_name,
            needed_by = needed_by,
            version = version,
        )
