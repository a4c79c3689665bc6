"""Device code: one .cu per variant, compiled with NVRTC for every SM, packed, embedded with a table."""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")
load("//platforms:platforms.bzl", "platform_select")

# What each CUDA release comes from; `compiler` and `packer` are the rows of WHEEL_PINS with NVRTC and nvFatbin.
CUDA_RELEASES = {
    "12.6": {
        "compiler": "nvidia-cuda-nvrtc-cu12",
        "include": ["@pypi_nvidia_cuda_runtime_cu12//:include", "@pypi_nvidia_cuda_cccl_cu12//:include"],
        "nvfatbin": ["@pypi_nvidia_nvfatbin_cu12//:nvfatbin"],
        "nvrtc": ["@pypi_nvidia_cuda_nvrtc_cu12//:nvrtc"],
        "packer": "nvidia-nvfatbin-cu12",
    },
    "12.9": {
        "compiler": "nvidia-cuda-nvrtc-cu12-12.9",
        "include": ["@pypi_nvidia_cuda_runtime_cu12_12_9//:include", "@pypi_nvidia_cuda_cccl_cu12_12_9//:include"],
        "nvfatbin": ["@pypi_nvidia_nvfatbin_cu12_12_9//:nvfatbin"],
        "nvrtc": ["@pypi_nvidia_cuda_nvrtc_cu12_12_9//:nvrtc"],
        "packer": "nvidia-nvfatbin-cu12-12.9",
    },
    "13.0": {
        "compiler": "nvidia-cuda-nvrtc",
        "include": [
            "@pypi_nvidia_cuda_runtime//:include",
            "@pypi_nvidia_cuda_crt//:include",
            "@pypi_nvidia_cuda_cccl//:include",
        ],
        "nvfatbin": ["@pypi_nvidia_nvfatbin//:nvfatbin"],
        "nvrtc": ["@pypi_nvidia_cuda_nvrtc//:nvrtc"],
        "packer": "nvidia-nvfatbin",
    },
}

SmListInfo = provider("The SMs that the user asked for.", fields = {"sms": "list of SM names; empty: the platform's"})

sm_list_flag = rule(
    implementation = lambda ctx: SmListInfo(sms = [sm for sm in ctx.build_setting_value if sm]),
    build_setting = config.string_list(flag = True),
    doc = "A flag with a comma-separated list of SMs.",
)

def cuda_release_filegroups():
    """Declares :nvrtc, :nvfatbin and :include of the platform's CUDA release."""
    for name in ("nvrtc", "nvfatbin", "include"):
        native.filegroup(name = name, srcs = platform_select(lambda row: CUDA_RELEASES[row["cuda"]][name]))

def _enabled_sms(ctx):
    """The SMs to compile for: the flag's, else the default; refuses one that cannot be compiled."""
    sms = ctx.attr._sms[SmListInfo].sms or ctx.attr.default_sms
    for sm in sms:
        if sm not in ctx.attr.archs:
            fail("SM %s is not one of %s, which the CUDA release of this platform compiles; change --sms" % (
                sm,
                ", ".join(ctx.attr.archs),
            ))
    return sms

def _stem(source):
    return source.basename.removesuffix(".cu")

def _is_of_one_architecture(ctx, source):
    return _stem(source) in ctx.attr.one_architecture

def _arch(ctx, source, sm):
    return ctx.attr.archs[sm] + ("a" if _is_of_one_architecture(ctx, source) else "")

def _compile(ctx, source, sm, format, line_info):
    """Declares the action that compiles one source for one SM.

    Returns:
      A struct of the symbol, the SM, the architecture, the format, the image and the compiler's report.
    """
    symbol = "%s_sm%s" % (_stem(source), sm)
    arch = _arch(ctx, source, sm)
    image = ctx.actions.declare_file("%s/%s.%s" % (ctx.label.name, symbol, format))
    report = ctx.actions.declare_file("%s/%s.%s.log" % (ctx.label.name, symbol, format))
    args = ctx.actions.args()
    args.add_all(ctx.files._nvrtc, before_each = "--library")
    args.add("--source", source)
    args.add("--symbol", symbol)
    args.add("--sm", sm)
    args.add("--arch", arch)
    args.add("--format", format)
    args.add("--output", image)
    args.add("--report", report)
    args.add("--include", ".")
    args.add_all(ctx.files._include, before_each = "--include", expand_directories = False)
    if line_info:
        args.add("--line_info")
    ctx.actions.run(
        arguments = [args],
        executable = ctx.executable._compile_kernel,
        execution_requirements = {"supports-path-mapping": "1"},
        inputs = depset([source] + ctx.files.hdrs + ctx.files._nvrtc + ctx.files._include),
        mnemonic = "NvrtcCompile",
        outputs = [image, report],
        progress_message = "NVRTC %s (%s)" % (symbol, format),
    )
    return struct(symbol = symbol, sm = sm, arch = arch, format = format, image = image, report = report)

def _images_of_each_source(sources, images):
    """One output group per source, so that a test depends on the images of its variant alone."""
    stems = [_stem(source) for source in sources]
    return {
        stem: depset([row.image for row in images if row.symbol == "%s_sm%s" % (stem, row.sm)])
        for stem in stems
    }

def _embed(ctx, images):
    """Declares the action that writes the assembly of the table, and the file of images that it includes.

    Cubins are packed; PTX stays as it is.
    """
    assembly = ctx.actions.declare_file(ctx.label.name + ".S")
    embedded = ctx.actions.declare_file(ctx.label.name + ".bin")
    packers = ctx.files._nvfatbin if ctx.attr.format == "cubin" else []
    args = ctx.actions.args()
    args.add("--assembly", assembly)
    args.add("--images", embedded)
    args.add_all(packers, before_each = "--nvfatbin")
    for row in images:
        args.add_joined([row.symbol, row.sm, row.arch, row.format, row.image], join_with = "=")
    ctx.actions.run(
        arguments = [args],
        executable = ctx.executable._embed_images,
        # The assembly names the file of images: its compilation is mapped too (.bazelrc), or neither may be.
        execution_requirements = {"supports-path-mapping": "1"},
        inputs = [row.image for row in images] + packers,
        mnemonic = "EmbedImages",
        outputs = [assembly, embedded],
    )
    return assembly, embedded

def _cuda_images_impl(ctx):
    sms = _enabled_sms(ctx)
    wanted = [(sm, ctx.attr.format, ctx.files.srcs) for sm in sms]
    if ctx.attr.ptx_of_newest:
        portable = [source for source in ctx.files.srcs if not _is_of_one_architecture(ctx, source)]
        wanted.append((sorted(sms, key = int)[-1], "ptx", portable))
    images = [
        _compile(ctx, source, sm, format, line_info = ctx.attr.format == "ptx")
        for sm, format, sources in wanted
        for source in sources
        if sm not in ctx.attr.excluded.get(_stem(source), [])
    ]

    assembly, embedded = _embed(ctx, images)
    toolchain = find_cpp_toolchain(ctx)
    features = cc_common.configure_features(ctx = ctx, cc_toolchain = toolchain)
    compilation, objects = cc_common.compile(
        name = ctx.label.name,
        actions = ctx.actions,
        additional_inputs = [embedded],
        cc_toolchain = toolchain,
        feature_configuration = features,
        srcs = [assembly],
    )
    linking, _ = cc_common.create_linking_context_from_compilation_outputs(
        name = ctx.label.name,
        actions = ctx.actions,
        alwayslink = True,
        cc_toolchain = toolchain,
        compilation_outputs = objects,
        disallow_dynamic_library = True,
        feature_configuration = features,
    )
    return [
        CcInfo(compilation_context = compilation, linking_context = linking),
        DefaultInfo(files = depset([row.image for row in images])),
        OutputGroupInfo(
            reports = depset([row.report for row in images]),
            **_images_of_each_source(ctx.files.srcs, images)
        ),
    ]

_cuda_images = rule(
    implementation = _cuda_images_impl,
    attrs = {
        "archs": attr.string_dict(doc = "SM to NVRTC's name of its architecture, for each SM that can be compiled."),
        "default_sms": attr.string_list(doc = "The SMs to compile for where the flag is empty."),
        "excluded": attr.string_list_dict(doc = "Stems of sources to the SMs they are not compiled for."),
        "format": attr.string(values = ["cubin", "ptx"]),
        "hdrs": attr.label_list(allow_files = True),
        "one_architecture": attr.string_list(doc = "Stems of sources with instructions of one architecture alone."),
        "ptx_of_newest": attr.bool(),
        "srcs": attr.label_list(allow_files = [".cu"]),
        "_compile_kernel": attr.label(cfg = "exec", default = "//tools/cuda:compile_kernel", executable = True),
        "_embed_images": attr.label(cfg = "exec", default = "//tools/cuda:embed_images", executable = True),
        "_include": attr.label(default = "//tools/cuda:include"),
        "_nvfatbin": attr.label(default = "//tools/cuda:nvfatbin"),
        "_nvrtc": attr.label(default = "//tools/cuda:nvrtc"),
        "_sms": attr.label(default = "//tools/cuda:sms"),
    },
    fragments = ["cpp"],
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)

def _compilable(sms, release):
    return {sm: row["arch"] for sm, row in sms.items() if release in row["cuda"]}

def ptx_sms(sms):
    """A select() of the SMs that have PTX for the emulator.

    These are the platform's own; on x86-64 all that its CUDA release compiles, so that any can be tried there.

    Args:
      sms: the table of SMs (kernels/variants.bzl).

    Returns:
      A select() over the platform.
    """
    return platform_select(
        lambda row: _compilable(sms, row["cuda"]).keys() if row["cpu"] == "x86_64" else row["sms"],
    )

def cuda_images(
        name,
        srcs,
        sms,
        format,
        hdrs = [],
        excluded = {},
        one_architecture = [],
        ptx_of_newest = False,
        **kwargs):
    """Compiles every source for every enabled SM and embeds the images with their table.

    The result is a cc_library that defines `edge_llm_kernel_images` (plugins/runtime/kernel_image.h), whose
    default outputs are the images, <name>/<stem>_sm<NN>.<format>; output group `reports` has the compiler's logs,
    and output group <stem> the images of one source.

    Args:
      name: the target.
      srcs: .cu files; each defines one kernel, named by the macro KERNEL_SYMBOL = <stem>_sm<NN>.
      sms: the table of SMs (kernels/variants.bzl).
      format: "cubin" (the platform's SMs) or "ptx" (those of ptx_sms(), with line information).
      hdrs: source files that the sources include.
      excluded: stems of sources to the SMs they are not compiled for.
      one_architecture: stems of sources with instructions of one architecture alone (such as sm_90a): no GPU to come
        can take their PTX.
      ptx_of_newest: embed PTX of the newest SM too, for GPUs to come.
      **kwargs: common attributes.
    """
    if format == "cubin":
        default_sms = platform_select(lambda row: row["sms"])
    else:
        default_sms = ptx_sms(sms)
    _cuda_images(
        name = name,
        srcs = srcs,
        hdrs = hdrs,
        archs = platform_select(lambda row: _compilable(sms, row["cuda"])),
        default_sms = default_sms,
        excluded = excluded,
        format = format,
        one_architecture = one_architecture,
        ptx_of_newest = ptx_of_newest,
        **kwargs
    )

def _table_json_impl(ctx):
    output = ctx.actions.declare_file(ctx.label.name + ".json")
    ctx.actions.write(output, json.encode_indent(json.decode(ctx.attr.tables), indent = "  ") + "\n")
    return [DefaultInfo(files = depset([output]))]

_table_json = rule(
    implementation = _table_json_impl,
    attrs = {"tables": attr.string(mandatory = True)},
)

def table_json(name, tables, **kwargs):
    """Writes literal Starlark tables as <name>.json, for generators and tests.

    Args:
      name: the target.
      tables: a dict of what json.encode takes.
      **kwargs: common attributes.
    """
    _table_json(name = name, tables = json.encode(tables), **kwargs)
