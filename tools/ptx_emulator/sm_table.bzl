"""Gives the emulator one device for each row of the SM table."""

_ROW = "    {{{sm}, \"{gpu}\", {sm_count}, {shared_per_block}, {shared_per_sm}, {threads_per_sm}}},"

def _sm_table_header_impl(ctx):
    rows = [
        _ROW.format(
            sm = sm,
            gpu = facts["gpu"],
            shared_per_block = facts["shared_per_block"],
            shared_per_sm = facts["shared_per_sm"],
            sm_count = facts["sm_count"],
            threads_per_sm = facts["threads_per_sm"],
        )
        for sm, facts in json.decode(ctx.attr.sms)
    ]
    header = ctx.actions.declare_file(ctx.attr.out)
    ctx.actions.write(
        output = header,
        content = "\n".join([
            "// Made from the SM table by //tools/ptx_emulator:sm_table.bzl: do not edit.",
            "#pragma once",
            "",
            "#define PTX_EMULATOR_DEVICES \\",
        ] + [row + " \\" for row in rows] + ["", ""]),
    )
    return [DefaultInfo(files = depset([header]))]

_sm_table_header = rule(
    implementation = _sm_table_header_impl,
    attrs = {
        "out": attr.string(mandatory = True),
        "sms": attr.string(mandatory = True),
    },
)

def sm_table_header(name, sms, out, **kwargs):
    """Writes a header with one initialiser per SM.

    Args:
      name: the target.
      sms: the SM table, a dict of dicts; the order of its keys is the order of the devices.
      out: file name of the header. It defines PTX_EMULATOR_DEVICES, a list of DeviceFacts.
      **kwargs: common attributes.
    """
    _sm_table_header(
        name = name,
        out = out,
        # A list: json.encode sorts the keys of a dict, and the order numbers the devices.
        sms = json.encode([[sm, facts] for sm, facts in sms.items()]),
        **kwargs
    )
