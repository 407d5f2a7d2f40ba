"""What the SBOM of the image says of packages; that its tool takes it for valid is part of making it."""

from __future__ import annotations

import json

from containers.root import RUNTIME
from containers.sbom import document

REQUIREMENTS = """# comment
yarl==1.20.0 ; python_full_version < '3.15' \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
PyYAML==6.0.2 \\
    --hash=sha256:{b}
""".format(a="a" * 64, b="b" * 64)
STATUS = "Package: dash\nVersion: 0.5.12-2\nArchitecture: amd64\nStatus: install ok installed\n\n"


def test_it_has_all_packages_with_their_addresses_and_hashes() -> None:
    found = json.loads(document(REQUIREMENTS, STATUS, codename="bookworm"))
    assert found["specVersion"] == "1.6"
    components = {each["name"]: each for each in found["components"]}
    assert components["yarl"]["purl"] == "pkg:pypi/yarl@1.20.0"
    assert len(components["yarl"]["hashes"]) == 2
    assert components["PyYAML"]["purl"] == "pkg:pypi/pyyaml@6.0.2"
    assert components["dash"]["purl"] == "pkg:deb/debian/dash@0.5.12-2?arch=amd64&distro=bookworm"
    (own,) = [each for each in found["dependencies"] if each["ref"] == "registryd"]
    assert set(own["dependsOn"]) == {each["purl"] for each in components.values()}


def test_what_is_pinned_can_be_said() -> None:
    found = json.loads(document(RUNTIME.read_text(), STATUS, codename="bookworm"))
    assert {"aiohttp", "grpcio", "protobuf", "zeroconf"} <= {each["name"] for each in found["components"]}
