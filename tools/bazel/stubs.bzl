"""Stand-ins for the rule sets that Bazel 7 asks for in WORKSPACE mode.

Bazel 7 would fetch rules_cc, rules_java and their like from GitHub, although only its native rules are
used here. These stubs forward to the native rules, so that nothing but package registries is reached.
They are generous on purpose: another 7.x may load more of them than the one they were tried with.
"""

_NATIVE_CC = [
    "cc_binary",
    "cc_import",
    "cc_library",
    "cc_shared_library",
    "cc_test",
    "cc_toolchain",
    "cc_toolchain_suite",
    "objc_import",
    "objc_library",
]

_NATIVE_PY = ["py_binary", "py_library", "py_test"]

def _stub_repository_impl(ctx):
    ctx.file("WORKSPACE", "workspace(name = %r)\n" % ctx.name)
    ctx.file("BUILD", "")
    for path, text in ctx.attr.files.items():
        ctx.file(path, text)

_stub_repository = repository_rule(
    implementation = _stub_repository_impl,
    attrs = {"files": attr.string_dict(doc = "Path to content.")},
)

def _forward(names):
    return "".join(["%s = native.%s\n" % (name, name) for name in names])

def stub_repositories():
    """Declares the stand-in repositories."""
    rules_cc = {"cc/BUILD": "", "cc/defs.bzl": _forward(_NATIVE_CC)}
    rules_cc.update({"cc/%s.bzl" % name: _forward([name]) for name in _NATIVE_CC})
    _stub_repository(name = "rules_cc", files = rules_cc)

    rules_python = {"python/BUILD": "", "python/defs.bzl": _forward(_NATIVE_PY)}
    rules_python.update({"python/%s.bzl" % name: _forward([name]) for name in _NATIVE_PY})
    _stub_repository(name = "rules_python", files = rules_python)

    _stub_repository(name = "rules_java", files = {"java/BUILD": "", "toolchains/BUILD": ""})
    _stub_repository(
        name = "bazel_skylib",
        files = {"bzl_library.bzl": "def bzl_library(**kwargs):\n    pass\n"},
    )
    _stub_repository(name = "rules_license")
    _stub_repository(name = "rules_proto")
