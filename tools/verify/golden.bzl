"""verify_golden: what the C++ program of a release compares with."""

load("//kernels:variants.bzl", "SMS")
load("//platforms:platforms.bzl", "platform_select")

_LIBRARY = "//plugins:libedge_llm_plugins_without_kernels.so"

def _devices(row):
    """SM:MULTIPROCESSORS of the GPUs of a platform: the usual one of each SM, and one of half its size."""
    counts = [(sm, SMS[sm]["sm_count"]) for sm in row["sms"]]
    return ["%s:%s" % (sm, count) for sm, usual in counts for count in (usual, usual // 2)]

def verify_golden(name, out, **kwargs):
    """Writes the golden file of the platform that is built for.

    Args:
      name: the target.
      out: the file.
      **kwargs: common attributes.
    """
    native.genrule(
        name = name,
        outs = [out],
        cmd = platform_select(lambda row: " ".join([
            "$(execpath :make_golden)",
            "--library=$(execpath %s)" % _LIBRARY,
            "--output=$@",
        ] + _devices(row))),
        tools = [":make_golden", _LIBRARY],
        **kwargs
    )
