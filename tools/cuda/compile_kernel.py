"""Compiles one kernel for one SM with NVRTC: no CUDA installation, no GPU, no host compiler.

Defines KERNEL_SYMBOL (the kernel's name) and KERNEL_SM (such as 87) for the source. The report
holds what the compiler says of registers, spills and shared memory.
"""

from __future__ import annotations

import argparse
import ctypes
import pathlib
import re
import sys


class Nvrtc:
    """The few functions of libnvrtc that a compilation takes."""

    def __init__(self, libraries: list[str]) -> None:
        # NVRTC looks its builtins library up by name: it must be in the process first.
        builtins = [path for path in libraries if "builtins" in path]
        (compiler,) = [path for path in libraries if "builtins" not in path]
        for path in builtins:
            ctypes.CDLL(str(pathlib.Path(path).resolve()), mode=ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(str(pathlib.Path(compiler).resolve()))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def _check(self, result: int) -> None:
        if result:
            raise RuntimeError(self._library.nvrtcGetErrorString(result).decode())

    def _text(self, program: ctypes.c_void_p, kind: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(max(size.value, 1))
        self._check(getattr(self._library, f"nvrtcGet{kind}")(program, buffer))
        return buffer.raw[: size.value]

    def compile(self, source: bytes, name: str, options: list[str], kind: str) -> tuple[bytes, str]:
        """Returns the image ("PTX" or "CUBIN") and the log; raises RuntimeError with the log."""
        program = ctypes.c_void_p()
        self._check(
            self._library.nvrtcCreateProgram(
                ctypes.byref(program), source, name.encode(), 0, None, None
            )
        )
        encoded = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        result = self._library.nvrtcCompileProgram(program, len(options), encoded)
        log = self._text(program, "ProgramLog").rstrip(b"\0").decode()
        if result:
            raise RuntimeError(log)
        image = self._text(program, kind)
        # NVRTC counts the zero that ends its text.
        return (image.removesuffix(b"\0") if kind == "PTX" else image), log


def name_sources_from_the_root(ptx: bytes) -> bytes:
    """PTX whose line information names files as the repository does.

    NVRTC puts the folder that it runs in before each name, and a sandbox is another one in every
    run: no two builds would have the same bytes.
    """
    here = re.escape(f"{pathlib.Path.cwd()}/".encode())
    return re.sub(
        rb'^(\s*\.file\s+\d+ ")' + here + rb"(?:bazel-out/[^/]+/bin/|\./)?",
        rb"\1",
        ptx,
        flags=re.MULTILINE,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--library", action="append", required=True, help="libnvrtc and its builtins"
    )
    parser.add_argument("--source", required=True)
    parser.add_argument("--symbol", required=True)
    parser.add_argument("--sm", required=True)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--format", choices=("cubin", "ptx"), required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--report", type=pathlib.Path, required=True)
    parser.add_argument("--include", action="append", default=[])
    parser.add_argument("--line_info", action="store_true")
    args = parser.parse_args()

    real = "sm" if args.format == "cubin" else "compute"
    options = [f"--gpu-architecture={real}_{args.arch}", "--std=c++17", "--ptxas-options=-v"]
    options += [f"-DKERNEL_SYMBOL={args.symbol}", f"-DKERNEL_SM={args.sm}"]
    for folder in args.include:
        options += [f"-I{folder}", f"-I{folder}/cccl"]
    if args.line_info:
        options.append("--generate-line-info")

    source = pathlib.Path(args.source).read_bytes()
    kind = "CUBIN" if args.format == "cubin" else "PTX"
    try:
        image, log = Nvrtc(args.library).compile(source, args.source, options, kind)
    except RuntimeError as error:
        sys.exit(f"{args.source} for SM {args.sm}: {error}")
    args.output.write_bytes(name_sources_from_the_root(image) if kind == "PTX" else image)
    # The compile time is the one line that differs from run to run.
    lines = [line for line in log.splitlines() if "Compile time" not in line]
    args.report.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
