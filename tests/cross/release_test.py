"""The archive of a platform holds what the platform can load: its ELF files say so."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable, Iterator

import pytest
from elftools.elf.elffile import ELFFile
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a platform takes, written down here a second time on purpose."""

    glibc: tuple[int, int]  # the newest symbols that it has
    sms: tuple[int, ...]
    cuda: str  # its driver loads nothing newer
    machine: str = "EM_AARCH64"
    more_emulated_sms: tuple[int, ...] = ()  # what its CUDA release compiles too

    @property
    def cubin_abi(self) -> int:
        """CUDA 13 raised it for all, CUDA 12 with the first SM of Blackwell."""
        return 8 if self.cuda >= "13" or min(self.sms) >= 100 else 7


EXPECTED = {
    "dgx_spark": Expected((2, 39), (121,), "13.0"),
    "drive_thor": Expected((2, 35), (101,), "12.9"),
    "jetpack6_orin": Expected((2, 35), (87,), "12.6"),
    "jetpack7_orin": Expected((2, 39), (87,), "13.0"),
    "jetpack7_thor": Expected((2, 39), (110,), "13.0"),
    "x86_64": Expected((2, 28), (80, 86, 89, 90, 100, 120), "13.0", "EM_X86_64", (87, 110, 121)),
    "x86_64_cuda12": Expected((2, 28), (80, 86, 89, 90), "12.6", "EM_X86_64", (87,)),
}
PLATFORM = os.environ["PLATFORM"]
RUNFILES = pathlib.Path(os.environ["TEST_SRCDIR"])
ARCHIVE = RUNFILES / os.environ["ARCHIVE"]
CUOBJDUMP = RUNFILES / os.environ["CUOBJDUMP"]

MOST_LIBRARY_BYTES = 15 * 10**6

# The C library and its parts; TensorRT and CUDA are found at run time.
ALLOWED_NEEDED = {
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
}


def sm_of(cubin: ELFFile) -> int:
    """The SM of a cubin, which ABI 8 moved from the flags' first byte to the second."""
    shift = 8 if cubin.header.e_ident.EI_ABIVERSION >= 8 else 0
    return cubin.header.e_flags >> shift & 0xFF


def kernels_of(cubin: ELFFile) -> set[str]:
    """The kernels of a cubin, from its sections .text.<kernel>."""
    names = (section.name for section in cubin.iter_sections())
    return {name.removeprefix(".text.") for name in names if name.startswith(".text.")}


@pytest.fixture(scope="module")
def expected() -> Expected:
    return EXPECTED[PLATFORM]


@pytest.fixture(scope="module")
def images(expected: Expected) -> set[str]:
    """The kernels, each for an SM, that the platform must have."""
    rows = json.loads(pathlib.Path("kernels/manifest.json").read_text())["images"]
    return {row["id"] for row in rows if int(row["sm"]) in expected.sms}


@pytest.fixture(scope="module")
def archive() -> dict[str, bytes]:
    """The files of the archive, without the one folder that holds them."""
    with tarfile.open(ARCHIVE) as tar:
        return {
            member.name.partition("/")[2]: tar.extractfile(member).read()
            for member in tar.getmembers()
        }


@pytest.fixture(scope="module")
def modes() -> dict[str, int]:
    """The permissions of these files."""
    with tarfile.open(ARCHIVE) as tar:
        return {member.name.partition("/")[2]: member.mode for member in tar.getmembers()}


@pytest.fixture(scope="module")
def library(archive: dict[str, bytes]) -> bytes:
    return archive["lib/libedge_llm_plugins.so"]


@pytest.fixture(scope="module")
def elf(library: bytes) -> ELFFile:
    return ELFFile(io.BytesIO(library))


@pytest.fixture(
    scope="module", params=["lib/libedge_llm_plugins.so", "bin/edge_llm_plugins_verify"]
)
def program(archive: dict[str, bytes], request: pytest.FixtureRequest) -> ELFFile:
    """What runs on the target's processor."""
    return ELFFile(io.BytesIO(archive[request.param]))


@pytest.fixture(scope="module")
def cubins(library: bytes, tmp_path_factory: pytest.TempPathFactory) -> list[ELFFile]:
    """The cubins in the library, as NVIDIA's cuobjdump takes them out."""
    folder = tmp_path_factory.mktemp("cubins")
    (folder / "library").write_bytes(library)
    subprocess.run([CUOBJDUMP, "--extract-elf=all", "library"], cwd=folder, check=True)
    return [ELFFile(io.BytesIO(path.read_bytes())) for path in folder.glob("*.cubin")]


def test_library_is_a_shared_object_for_the_platforms_processor(
    elf: ELFFile, expected: Expected
) -> None:
    assert (elf["e_machine"], elf["e_type"]) == (expected.machine, "ET_DYN")


def test_library_is_small(library: bytes) -> None:
    assert len(library) <= MOST_LIBRARY_BYTES


def test_symbols_are_no_newer_than_the_platforms_c_library(
    program: ELFFile, expected: Expected
) -> None:
    assert program["e_machine"] == expected.machine
    versions = [
        tuple(map(int, need.name.removeprefix("GLIBC_").split(".")))
        for _, needs in program.get_section_by_name(".gnu.version_r").iter_versions()
        for need in needs
    ]
    assert versions, "a library that uses no C library is not ours"
    assert max(versions) <= expected.glibc


def test_needed_libraries_are_of_the_c_library(program: ELFFile) -> None:
    dynamic = program.get_section_by_name(".dynamic")
    needed = {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}
    assert "libc.so.6" in needed
    assert needed <= ALLOWED_NEEDED


def test_cubins_are_of_the_platforms_sms_and_cuda(
    cubins: list[ELFFile], expected: Expected
) -> None:
    assert {cubin["e_machine"] for cubin in cubins} == {"EM_CUDA"}
    assert {sm_of(cubin) for cubin in cubins} == set(expected.sms)
    assert {cubin.header.e_ident.EI_ABIVERSION for cubin in cubins} == {expected.cubin_abi}


def test_every_variant_of_the_manifest_has_its_cubin(
    cubins: list[ELFFile], images: set[str]
) -> None:
    assert images
    assert set().union(*map(kernels_of, cubins)) == images


def test_ptx_is_of_the_newest_sm_and_the_platforms_cuda(library: bytes, expected: Expected) -> None:
    newest = str(max(expected.sms)).encode()
    assert set(re.findall(rb"\.target sm_(\w+)", library)) == {newest}
    assert set(re.findall(rb"release (\d+\.\d+), V", library)) == {expected.cuda.encode()}


def test_manifest_of_the_archive_tells_the_same(
    archive: dict[str, bytes], expected: Expected
) -> None:
    manifest = json.loads(archive["manifest.json"])
    assert manifest["platform"] == PLATFORM
    assert manifest["cpu"] == ("x86_64" if PLATFORM.startswith("x86_64") else "aarch64")
    assert manifest["cuda"] == expected.cuda
    assert manifest["sms"] == list(map(str, expected.sms))
    assert manifest["glibc"] == ".".join(map(str, expected.glibc))
    assert manifest["files"].keys() == archive.keys() - {"manifest.json"}


def test_manifest_names_compilers_and_kernels(
    archive: dict[str, bytes], expected: Expected, images: set[str]
) -> None:
    manifest = json.loads(archive["manifest.json"])
    assert manifest["compilers"].keys() == {"zig", "nvrtc", "nvfatbin"}
    for tool in ("nvrtc", "nvfatbin"):
        assert manifest["compilers"][tool].startswith(f"{expected.cuda}.")
    assert {f"{name}_sm{sm}" for name, sms in manifest["kernels"].items() for sm in sms} == images
    for name, facts in manifest["files"].items():
        assert facts["bytes"] == len(archive[name])
        assert facts["sha256"] == hashlib.sha256(archive[name]).hexdigest()


def test_wheel_and_bundle_are_of_the_platforms_python_or_said_to_be_missing(
    archive: dict[str, bytes],
) -> None:
    manifest = json.loads(archive["manifest.json"])
    tag = "cp" + manifest["python"].replace(".", "")
    glibc = manifest["glibc"].replace(".", "_")
    cpu = "x86_64" if PLATFORM.startswith("x86_64") else "aarch64"
    version = manifest["version"]
    found = {name for name in archive if name.startswith("python/")}
    if "no_wheel" in manifest:
        assert archive["NO_WHEEL.txt"].decode().strip() == manifest["no_wheel"]
        assert "uv python install" in manifest["no_wheel"]
        assert not found
        return
    assert "NO_WHEEL.txt" not in archive
    assert found == {
        f"python/edge_llm_plugins-{version}-{tag}-{tag}-manylinux_{glibc}_{cpu}.whl",
        f"python/edge_llm_plugins_gpu_bundle-{version}-{PLATFORM}-{tag}.tar.gz",
    }


def test_wheel_emulates_the_platforms_sms(archive: dict[str, bytes], expected: Expected) -> None:
    wheels = [content for name, content in archive.items() if name.endswith(".whl")]
    assert len(wheels) == (0 if "NO_WHEEL.txt" in archive else 1)
    for content in wheels:
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            library = wheel.read("edge_llm_plugins/lib/libedge_llm_plugins_ptx.so")
            facts = wheel.read("edge_llm_plugins/_build.py").decode()
        sms = sorted(expected.sms + expected.more_emulated_sms)
        assert {int(sm) for sm in re.findall(rb"\.target sm_(\d+)", library)} == set(sms)
        assert f"EMULATED_SMS = ({', '.join(map(str, sms))},)" in facts


def test_sbom_is_valid(archive: dict[str, bytes]) -> None:
    """By the tools of those who make the standard."""
    document = JsonLikeDictParser().parse(json.loads(archive["sbom.spdx.json"]))
    assert validate_full_spdx_document(document) == []


def test_sbom_describes_every_file_and_component(archive: dict[str, bytes]) -> None:
    sbom = json.loads(archive["sbom.spdx.json"])
    assert sbom["spdxVersion"] == "SPDX-2.3"
    described = {
        row["fileName"].removeprefix("./"): {
            sum_["algorithm"]: sum_["checksumValue"] for sum_ in row["checksums"]
        }
        for row in sbom["files"]
    }
    assert described.keys() == archive.keys() - {"manifest.json", "sbom.spdx.json"}
    for name, sums in described.items():
        assert sums["SHA1"] == hashlib.sha1(archive[name]).hexdigest()
        assert sums["SHA256"] == hashlib.sha256(archive[name]).hexdigest()
    identifiers = [row["SPDXID"] for row in [sbom, *sbom["packages"], *sbom["files"]]]
    assert len(identifiers) == len(set(identifiers))
    assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", name) for name in identifiers)
    related = {
        row[key] for row in sbom["relationships"] for key in ("spdxElementId", "relatedSpdxElement")
    }
    assert related == set(identifiers)
    components = {"libc++", "libc++abi", "libunwind", "pybind11", "zig", "nvrtc", "nvfatbin"}
    names = {package["name"] for package in sbom["packages"]}
    assert names == {"edge-llm-plugins", *components, *packages_of_bundle(archive)}


def packages_of_bundle(archive: dict[str, bytes]) -> set[str]:
    """The Python packages of others that the bundle holds; none where there is no bundle."""
    names = {
        content.decode().partition("\nName: ")[2].partition("\n")[0]
        for name, content in unpacked(archive.items())
        if "!" in name and ".whl!" not in name and name.endswith(".dist-info/METADATA")
    }
    assert "NO_WHEEL.txt" in archive or names >= {"gguf", "numpy", "pytest", "tokenizers"}
    return names


def test_licences_of_what_is_inside_are_packed(archive: dict[str, bytes]) -> None:
    for name in ("libc++", "libc++abi", "libunwind"):
        assert b"LLVM" in archive[f"licenses/{name}.txt"]
    assert b"Wenzel Jakob" in archive["licenses/pybind11.txt"]


def unpacked(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """The files, and those within them: in wheels, and in the bundle, which holds a wheel too."""
    for name, content in files:
        yield name, content
        if name.endswith(".whl"):
            with zipfile.ZipFile(io.BytesIO(content)) as wheel:
                yield from unpacked(
                    (f"{name}!{member}", wheel.read(member)) for member in wheel.namelist()
                )
        elif name.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(content)) as bundle:
                yield from unpacked(
                    (f"{name}!{member.name}", file.read())
                    for member in bundle
                    if (file := bundle.extractfile(member))
                )


def test_verify_script_and_what_it_needs_are_packed(
    archive: dict[str, bytes], modes: dict[str, int], images: set[str]
) -> None:
    assert archive["verify.sh"].startswith(b"#!/bin/sh\n")
    assert modes["verify.sh"] == modes["bin/edge_llm_plugins_verify"] == 0o755
    golden = archive["share/verify.golden"]
    assert golden.startswith(b"edge_llm_plugins verify 1\n")
    kernels = set(re.findall(rb"^kernel (\w+)", golden, re.MULTILINE))
    assert {name.rpartition("_")[0].encode() for name in images} <= kernels


def test_nothing_tells_where_it_was_built(archive: dict[str, bytes]) -> None:
    traces = [
        b"/.cache/edge-llm-plugins",
        b"bazel-out",
        b"execroot",
        os.path.realpath(os.getcwd()).encode(),
    ]
    files = dict(unpacked(archive.items()))
    assert len(files) > len(archive), "no file within a file was read"
    assert not [name for name, content in files.items() for trace in traces if trace in content]


def test_licence_and_header_are_packed(archive: dict[str, bytes]) -> None:
    assert b"Apache License" in archive["LICENSE"]
    assert b"getCreators" not in archive["include/edge_llm_plugins.h"]
    assert b"edge_llm_plugins_version" in archive["include/edge_llm_plugins.h"]
