"""One row per platform that the library ships to: C library, CUDA release, Python and SMs."""

#   cpu     of @platforms//cpu
#   glibc   the newest glibc symbols that the platform has
#   cuda    the CUDA release whose NVRTC compiles its cubins (its driver loads no newer ones)
#   python  of the wheel; where none is given, the one that builds (--python=3.12 overrides either)
#   sms     the cubins in its library; the newest of them also as PTX for GPUs to come
PLATFORMS = {
    "dgx_spark": {"cpu": "aarch64", "cuda": "13.0", "glibc": "2.39", "python": "3.12", "sms": ["121"]},
    "drive_thor": {"cpu": "aarch64", "cuda": "12.9", "glibc": "2.35", "python": "3.10", "sms": ["101"]},
    "jetpack6_orin": {"cpu": "aarch64", "cuda": "12.6", "glibc": "2.35", "python": "3.10", "sms": ["87"]},
    "jetpack7_orin": {"cpu": "aarch64", "cuda": "13.0", "glibc": "2.39", "python": "3.12", "sms": ["87"]},
    "jetpack7_thor": {"cpu": "aarch64", "cuda": "13.0", "glibc": "2.39", "python": "3.12", "sms": ["110"]},
    "x86_64": {"cpu": "x86_64", "cuda": "13.0", "glibc": "2.28", "sms": ["80", "86", "89", "90", "100", "120"]},
    "x86_64_cuda12": {"cpu": "x86_64", "cuda": "12.6", "glibc": "2.28", "sms": ["80", "86", "89", "90"]},
}

# The platform of the build host, on which tests run.
HOST = "x86_64"

def platform_select(values):
    """A select() with one value per platform.

    Args:
      values: function from a row of PLATFORMS to the value of that platform.

    Returns:
      A select() over the constraint value that each platform has for itself.
    """
    return select({"//platforms:is_" + name: values(row) for name, row in PLATFORMS.items()})

def platform_name():
    """A select() with the name of the platform that is built for."""
    return select({"//platforms:is_" + name: name for name in PLATFORMS})

def glibc_constraint(version):
    """The label of the constraint value for a glibc version such as "2.28"."""
    return "//platforms:glibc_" + version.replace(".", "_")

def cuda_constraint(version):
    """The label of the constraint value for a CUDA release such as "13.0"."""
    return "//platforms:cuda_" + version.replace(".", "_")

def declare_platforms():
    """Declares a platform() per row, and the constraint values that tell them apart."""
    native.constraint_setting(name = "glibc")
    native.constraint_setting(name = "cuda")
    native.constraint_setting(name = "name")
    for version in {row["glibc"]: None for row in PLATFORMS.values()}:
        native.constraint_value(name = Label(glibc_constraint(version)).name, constraint_setting = ":glibc")
    for version in {row["cuda"]: None for row in PLATFORMS.values()}:
        native.constraint_value(name = Label(cuda_constraint(version)).name, constraint_setting = ":cuda")
    for name, row in PLATFORMS.items():
        native.constraint_value(name = "is_" + name, constraint_setting = ":name")
        native.platform(
            name = name,
            constraint_values = [
                "@platforms//os:linux",
                "@platforms//cpu:" + row["cpu"],
                glibc_constraint(row["glibc"]),
                cuda_constraint(row["cuda"]),
                ":is_" + name,
            ],
        )
