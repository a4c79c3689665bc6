"""What the library shows to, and wants from, the process that loads it."""

from __future__ import annotations

import pathlib

import pytest
from elftools.elf.elffile import ELFFile

EXPORTS = {
    "edge_llm_plugins_attention_variant",
    "edge_llm_plugins_creators",
    "edge_llm_plugins_int4_gemm_variant",
    "edge_llm_plugins_last_error",
    "edge_llm_plugins_register",
    "edge_llm_plugins_set_cuda_driver",
    "edge_llm_plugins_version",
    "getCreators",
    "getPluginCreators",
    "setLoggerFinder",
}
# The C library and its parts; TensorRT and CUDA are found at run time.
ALLOWED_NEEDED = {"ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0"}
DF_1_NODELETE = 0x8


@pytest.fixture(params=["libedge_llm_plugins.so", "libedge_llm_plugins_ptx.so"])
def library(request):
    with (pathlib.Path("plugins") / request.param).open("rb") as file:
        yield request.param, ELFFile(file)


def dynamic_values(elf: ELFFile, tag: str, attribute: str | None = None) -> list:
    tags = elf.get_section_by_name(".dynamic").iter_tags(tag)
    return [getattr(t, attribute) if attribute else t.entry.d_val for t in tags]


def test_exports_are_the_entry_points_alone(library):
    _, elf = library
    symbols = elf.get_section_by_name(".dynsym").iter_symbols()
    assert {s.name for s in symbols if s.name and s.entry.st_shndx != "SHN_UNDEF"} == EXPORTS


def test_undefined_symbols_are_of_the_c_library(library):
    _, elf = library
    undefined = {
        s.name
        for s in elf.get_section_by_name(".dynsym").iter_symbols()
        if s.name and s.entry.st_shndx == "SHN_UNDEF" and s.entry.st_info.bind != "STB_WEAK"
    }
    versions = elf.get_section_by_name(".gnu.version_r")
    needed = {v.name for v, _ in versions.iter_versions()}
    assert "dlopen" in undefined  # the list is not empty by mistake
    assert needed <= ALLOWED_NEEDED
    assert not {name for name in undefined if name.startswith(("cu", "_ZN8nvinfer", "getInfer"))}


def test_needed_libraries_are_of_the_c_library(library):
    _, elf = library
    needed = set(dynamic_values(elf, "DT_NEEDED", "needed"))
    assert "libc.so.6" in needed
    assert needed <= ALLOWED_NEEDED


def test_library_names_itself_and_stays_loaded(library):
    name, elf = library
    assert dynamic_values(elf, "DT_SONAME", "soname") == [name]
    (flags,) = dynamic_values(elf, "DT_FLAGS_1")
    assert flags & DF_1_NODELETE, "TensorRT may unload the library before the last plugin dies"
