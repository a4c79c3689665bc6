"""The SPDX document of a release: its files, what they contain, and what made them."""

from __future__ import annotations

import email.parser
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# SPDX wants a date, and a release must not depend on when it was built.
_CREATED = "1980-01-01T00:00:00Z"
_RELEASE = "SPDXRef-release"


def spdx_document(
    name: str, version: str, files: Mapping[str, bytes], components: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """An SPDX 2.3 document, as JSON has it.

    Args:
      name: of the release, the name of its folder.
      version: of the release.
      files: their contents by path.
      components: rows of tools/dist/components.bzl.
    """
    packed = {
        path: list(_packages_within(content))
        for path, content in sorted(files.items())
        if path.endswith(".tar.gz")
    }
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{name}",
        "creationInfo": {"created": _CREATED, "creators": ["Tool: make_archive"]},
        "packages": [
            {
                **_package(_RELEASE, "edge-llm-plugins", version, "Apache-2.0"),
                "filesAnalyzed": True,
                "packageVerificationCode": _verification_code(files),
            },
            *(
                {
                    **_package(_id(row["name"]), row["name"], row["version"], row["license"]),
                    "comment": f"of the wheel {row['wheel']}",
                }
                for row in components
            ),
            *(package for packages in packed.values() for package in packages),
        ],
        "files": [_file(path, content) for path, content in sorted(files.items())],
        "hasExtractedLicensingInfos": [
            {
                "licenseId": "LicenseRef-NVIDIA-CUDA",
                "extractedText": "The CUDA Toolkit's End User License Agreement of NVIDIA.",
            }
        ],
        "relationships": [
            _relationship("SPDXRef-DOCUMENT", "DESCRIBES", _RELEASE),
            *(_relationship(_RELEASE, "CONTAINS", _file_id(path)) for path in sorted(files)),
            *(_of_component(row) for row in components),
            *(
                _relationship(_file_id(path), "CONTAINS", package["SPDXID"])
                for path, packages in packed.items()
                for package in packages
            ),
        ],
    }


def _package(identifier: str, name: str, version: str, license_id: str) -> dict[str, Any]:
    return {
        "SPDXID": identifier,
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": license_id,
        "licenseDeclared": license_id,
        "copyrightText": "NOASSERTION",
    }


def _verification_code(files: Mapping[str, bytes]) -> dict[str, Any]:
    """What SPDX has of all files together; those that list the others cannot be among them."""
    sums = sorted(hashlib.sha1(content).hexdigest() for content in files.values())
    return {
        "packageVerificationCodeValue": hashlib.sha1("".join(sums).encode()).hexdigest(),
        "packageVerificationCodeExcludedFiles": ["./manifest.json", "./sbom.spdx.json"],
    }


def _packages_within(archive: bytes) -> Iterator[dict[str, Any]]:
    """The Python packages in an archive, as their own metadata tells; not all have a licence's id."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            if member.name.endswith(".dist-info/METADATA") and (file := members.extractfile(member)):
                facts = email.parser.BytesHeaderParser().parsebytes(file.read())
                license_id = facts.get("License-Expression", "NOASSERTION")
                yield _package(_id(facts["Name"]), facts["Name"], facts["Version"], license_id)


def _file(path: str, content: bytes) -> dict[str, Any]:
    return {
        "SPDXID": _file_id(path),
        "fileName": f"./{path}",
        "checksums": [
            {"algorithm": name, "checksumValue": hashlib.new(name, content).hexdigest()}
            for name in ("SHA1", "SHA256")
        ],
        "licenseConcluded": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    }


def _of_component(row: Mapping[str, str]) -> dict[str, str]:
    identifier = _id(row["name"])
    if row["relationship"] == "BUILD_TOOL_OF":
        return _relationship(identifier, "BUILD_TOOL_OF", _RELEASE)
    return _relationship(_RELEASE, row["relationship"], identifier)


def _relationship(element: str, kind: str, related: str) -> dict[str, str]:
    return {"spdxElementId": element, "relationshipType": kind, "relatedSpdxElement": related}


def _id(name: str) -> str:
    """Letters, digits, dots and hyphens are all that SPDX allows."""
    return "SPDXRef-" + "".join(c if c.isalnum() or c in ".-" else "-" for c in name)


def _file_id(path: str) -> str:
    return "SPDXRef-file-" + hashlib.sha1(path.encode()).hexdigest()
