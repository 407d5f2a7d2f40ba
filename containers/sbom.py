"""What is in the container image, as CycloneDX 1.6: `python -m containers.sbom FILE` (./dev sbom).

PyPI's packages are those of requirements/runtime.txt with their hashes, Debian's those in the image's own list
(var/lib/dpkg/status). Serial number and time are constant: the same image has the same document.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tarfile
import tempfile
import uuid
from datetime import UTC, datetime
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement

from containers.root import RUNTIME, make_parts
from lab.apt import debian_codename
from lab.images import local_architecture
from registryd.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS: Final = "./var/lib/dpkg/status"
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEMA: Final = SchemaVersion.V1_6


def document(requirements: str, dpkg_status: str, *, codename: str) -> str:
    """The SBOM of an image with these packages, as JSON. Raises ValueError for one that its schema does not allow."""
    root = Component(name="registryd", version=VERSION, type=ComponentType.CONTAINER, bom_ref="registryd")
    bom = Bom(components=[*_of_pypi(requirements), *_of_debian(dpkg_status, codename)])
    bom.metadata.component = root
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, requirements + dpkg_status + VERSION)
    bom.metadata.timestamp = _EPOCH
    bom.dependencies.add(Dependency(root.bom_ref, [Dependency(each.bom_ref) for each in bom.components]))
    text = make_outputter(bom, OutputFormat.JSON, _SCHEMA).output_as_string(indent=2)
    if problem := JsonStrictValidator(_SCHEMA).validate_str(text):
        raise ValueError(f"not as CycloneDX wants it: {problem}")
    return text + "\n"


def _of_pypi(requirements: str) -> Iterator[Component]:
    for entry in re.split(r"\n(?=\S)", requirements):
        line = entry.partition(" \\")[0].strip()
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        version = str(requirement.specifier).removeprefix("==")
        purl = PackageURL("pypi", name=requirement.name.lower(), version=version)
        hashes = [HashType(alg=HashAlgorithm.SHA_256, content=found) for found in _HASH.findall(entry)]
        # A requirement may be met by any of its files, one for each kind of machine.
        yield Component(name=requirement.name, version=version, purl=purl, bom_ref=str(purl), hashes=hashes)


def _of_debian(dpkg_status: str, codename: str) -> Iterator[Component]:
    for stanza in filter(None, dpkg_status.split("\n\n")):
        fields = Parser().parsestr(stanza)
        qualifiers = {"arch": fields["Architecture"], "distro": codename}
        purl = PackageURL("deb", "debian", fields["Package"], fields["Version"], qualifiers)
        yield Component(name=fields["Package"], version=fields["Version"], purl=purl, bom_ref=str(purl))


async def _dpkg_status() -> str:
    """Of the image for this machine; another architecture has the same packages."""
    with tempfile.TemporaryDirectory() as work:
        debian, *_ = (await make_parts(Path(work), [local_architecture()]))[local_architecture()]
        with tarfile.open(debian.tar) as tar:
            status = tar.extractfile(_STATUS)
            if status is None:
                raise ValueError(f"the image has no {_STATUS}")
            return status.read().decode()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m containers.sbom", description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    status = asyncio.run(_dpkg_status())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(document(RUNTIME.read_text(), status, codename=debian_codename()))


if __name__ == "__main__":
    main()
