"""The Python that is built for: that of --python=3.12, else the platform's, else the one that builds."""

load("@local_python//:defs.bzl", "PYTHON_VERSION")
load("//platforms:platforms.bzl", "PLATFORMS", "platform_select")
load("//tools/bazel:python.bzl", "SUPPORTED_PYTHONS", "python_headers")
load("//tools/bazel:wheels.bzl", "TARGET_WHEELS", "target_wheel")

def _python_flag_impl(ctx):
    version = ctx.build_setting_value
    if version and version not in SUPPORTED_PYTHONS:
        fail("--python=%s: %s are supported" % (version, ", ".join(SUPPORTED_PYTHONS)))
    return []

_python_flag = rule(
    implementation = _python_flag_impl,
    build_setting = config.string(flag = True),
    doc = "A flag with a version of Python; empty means the platform's.",
)

def python_select(values):
    """A select() with one value per Python that a wheel can be for.

    Args:
      values: function from a version such as "3.12" to its value.

    Returns:
      A select() over the flag and the platform.
    """
    cases = {"//tools/bazel:python_" + version: values(version) for version in SUPPORTED_PYTHONS}
    for platform, row in PLATFORMS.items():
        cases["//tools/bazel:python_of_" + platform] = values(row.get("python", PYTHON_VERSION))
    return select(cases)

def declare_target_python():
    """Declares the flag :python, what python_select() looks at, :python_headers and each :target_<package>."""
    _python_flag(name = "python", build_setting_default = "")
    for version in SUPPORTED_PYTHONS:
        native.config_setting(name = "python_" + version, flag_values = {":python": version})
    for platform in PLATFORMS:
        native.config_setting(
            name = "python_of_" + platform,
            constraint_values = ["//platforms:is_" + platform],
            flag_values = {":python": ""},
        )
    native.alias(name = "python_headers", actual = python_select(python_headers))
    for name, pins in TARGET_WHEELS.items():
        for cpu in pins:
            native.alias(
                name = "target_%s_%s" % (name, cpu),
                actual = python_select(lambda version: target_wheel(name, cpu, version)),
                tags = ["manual"],
            )
        native.alias(
            name = "target_" + name,
            actual = platform_select(lambda row: "target_%s_%s" % (name, row["cpu"])),
            tags = ["manual"],
        )
