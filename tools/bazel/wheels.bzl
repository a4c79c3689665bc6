"""Pinned wheels as repositories, fetched with the user's own pip so that its index, mirror or proxy applies."""

load("//tools/bazel:python.bzl", "SUPPORTED_PYTHONS", "find_python")
load("//tools/bazel:wheel_pins.bzl", "WHEEL_PINS")

_PYTHON_PACKAGE = """
py_library(
    name = "package",
    srcs = glob(["**/*.py"], exclude = ["**/* *"], allow_empty = True),
    data = glob(["**/*"], exclude = ["**/*.py", "**/*.pyc", "**/* *", "WORKSPACE", "BUILD.bazel"], allow_empty = True),
    imports = ["."],
    visibility = ["//visibility:public"],
    deps = {deps},
)
"""

def requirement(name):
    """The label of the py_library of a pinned Python package, such as requirement("numpy")."""
    if name not in WHEEL_PINS:
        fail("%s is not pinned in tools/bazel/wheel_pins.bzl (pinned: %s)" % (name, ", ".join(WHEEL_PINS)))
    return "@%s//:package" % _repository_name(name)

def _repository_name(name):
    # The prefix keeps a repository from shadowing the package that it holds on sys.path.
    return "pypi_" + name.lower().replace("-", "_").replace(".", "_")

# Packages that are not pure Python and are packed for a target: the row of WHEEL_PINS for each processor.
TARGET_WHEELS = {
    "numpy": {"aarch64": "numpy-aarch64", "x86_64": "numpy"},
    "safetensors": {"aarch64": "safetensors-aarch64", "x86_64": "safetensors"},
    "tokenizers": {"aarch64": "tokenizers-aarch64", "x86_64": "tokenizers"},
}

def target_wheel(name, cpu, python):
    """The label of a package of TARGET_WHEELS, for a processor and a version of Python."""
    return "@%s//:package" % _repository_for_python(TARGET_WHEELS[name][cpu], python)

def _repository_for_python(name, python):
    return "%s_cp%s" % (_repository_name(name), python.replace(".", ""))

def wheel_cache_folder(ctx):
    """The folder that keeps downloads by their hash, so that another clone need not fetch them again.

    Args:
      ctx: the repository context.

    Returns:
      Its path; the folder may not exist yet.
    """
    environment = ctx.os.environ
    if "EDGE_LLM_WHEEL_CACHE" in environment:
        return environment["EDGE_LLM_WHEEL_CACHE"]
    base = environment.get("XDG_CACHE_HOME") or environment.get("HOME", "/tmp") + "/.cache"
    return base + "/edge-llm-plugins/wheels"

def _wheel_repository_impl(ctx):
    python = find_python(ctx)
    version = ctx.attr.python_version or python.version
    digest = ctx.attr.sha256.get("any") or ctx.attr.sha256.get(version)
    if not digest:
        fail("%s has no wheel pinned for Python %s, only for %s" % (
            ctx.attr.requirement,
            version,
            ", ".join(ctx.attr.sha256),
        ))
    ctx.report_progress("wheel %s" % ctx.attr.requirement)
    result = ctx.execute([
        python.path,
        ctx.path(ctx.attr._fetch_wheel),
        "--requirement=" + ctx.attr.requirement,
        "--sha256=" + digest,
        "--python-version=" + version,
        "--cpu=" + ctx.attr.cpu,
        "--cache=" + wheel_cache_folder(ctx),
        "--destination=.",
    ], timeout = 3600)
    if result.return_code:
        fail(result.stderr)
    ctx.file("WORKSPACE", "")
    if ctx.attr.build_file:
        ctx.symlink(ctx.attr.build_file, "BUILD.bazel")
    else:
        ctx.file("BUILD.bazel", _PYTHON_PACKAGE.format(deps = repr(ctx.attr.deps)))

_wheel_repository = repository_rule(
    implementation = _wheel_repository_impl,
    attrs = {
        "build_file": attr.label(allow_single_file = True, doc = "Default: a py_library of the whole wheel."),
        "cpu": attr.string(default = "x86_64", doc = "Of the wheel."),
        "deps": attr.string_list(doc = "Labels of the packages that it imports."),
        "python_version": attr.string(doc = "A wheel for another Python than the running one, such as 3.10."),
        "requirement": attr.string(mandatory = True, doc = "NAME==VERSION"),
        "sha256": attr.string_dict(mandatory = True, doc = "Python version, or any, to sha256."),
        "_fetch_wheel": attr.label(default = "//tools/bazel:fetch_wheel.py"),
    },
    environ = ["EDGE_LLM_PYTHON", "EDGE_LLM_WHEEL_CACHE"],
)

def _declare_wheel(pin_name, repository_name, python_version):
    pin = WHEEL_PINS[pin_name]
    _wheel_repository(
        name = repository_name,
        build_file = pin.get("build_file"),
        cpu = pin.get("cpu", "x86_64"),
        deps = [requirement(dep) for dep in pin.get("deps", [])],
        python_version = python_version,
        requirement = "%s==%s" % (pin.get("name", pin_name), pin["version"]),
        sha256 = pin["sha256"],
    )

def wheel_repositories():
    """Declares one repository per row of WHEEL_PINS, and per Python of TARGET_WHEELS. Each is fetched when needed."""
    for name, pin in WHEEL_PINS.items():
        _declare_wheel(name, _repository_name(name), pin.get("python_version", ""))
    for pins in TARGET_WHEELS.values():
        for name in pins.values():
            for python in SUPPORTED_PYTHONS:
                _declare_wheel(name, _repository_for_python(name, python), python)
