"""build_facts: what the package knows of its own build, as a Python module."""

load("//kernels:variants.bzl", "ATTENTION_VARIANTS", "EXCLUDED", "INT4_GEMM_VARIANTS", SM_TABLE = "SMS")
load("//platforms:platforms.bzl", "platform_select")
load("//tools/cuda:cuda.bzl", "SmListInfo", "ptx_sms")

def _build_facts_impl(ctx):
    module = ctx.actions.declare_file(ctx.attr.out)
    asked = ctx.attr._sms[SmListInfo].sms
    sms, emulated_sms = [", ".join(asked or default) for default in (ctx.attr.default_sms, ctx.attr.emulated_sms)]
    ctx.actions.write(
        output = module,
        content = '"""Facts of this build, written by build_facts.bzl."""\n\n' +
                  '__version__ = "%s"\nSMS = (%s,)\nEMULATED_SMS = (%s,)\n\n' % (ctx.attr.version, sms, emulated_sms) +
                  "# Every kernel, with the SMs that have no room for it.\nKERNELS = {\n" +
                  "".join([
                      '    "%s": (%s),\n' % (name, "".join([sm + ", " for sm in EXCLUDED.get(name, [])]))
                      for name in list(INT4_GEMM_VARIANTS) + list(ATTENTION_VARIANTS)
                  ]) + "}\n",
    )
    return [DefaultInfo(files = depset([module]))]

_build_facts = rule(
    implementation = _build_facts_impl,
    attrs = {
        "default_sms": attr.string_list(mandatory = True),
        "emulated_sms": attr.string_list(mandatory = True),
        "out": attr.string(mandatory = True),
        "version": attr.string(mandatory = True),
        "_sms": attr.label(default = "//tools/cuda:sms"),
    },
)

def build_facts(name, out, version, **kwargs):
    """Writes the version, the kernels, and the SMs that the library and that of the emulator have.

    Args:
      name: the target.
      out: file name of the module.
      version: the version of this release.
      **kwargs: common attributes.
    """
    _build_facts(
        name = name,
        default_sms = platform_select(lambda row: row["sms"]),
        emulated_sms = ptx_sms(SM_TABLE),
        out = out,
        version = version,
        **kwargs
    )
