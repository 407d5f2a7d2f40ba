from pathlib import Path

import pytest

from registryd.config.agent import SettingsError
from registryd.config.cache import TagMode
from registryd.config.loader import load

FILE = """
[upstreams]
allow = ["docker.io"]
[upstreams.registries."docker.io"]
url = "https://harbor.example/v2/proxy-docker.io"
override_path = true
mirrors = ["https://one.example", "https://two.example"]
tags = "trust"
trust_for = "1m"
[upstreams.registries."registry.example:5000"]
plain_http = true
"""


def test_tables_by_name_become_values(tmp_path: Path) -> None:
    file = tmp_path / "registryd.toml"
    file.write_text(FILE)
    upstreams = load(flags={}, environment={}, file=file).upstreams
    hub = upstreams.registries["docker.io"]
    assert (hub.override_path, hub.mirrors) == (True, ("https://one.example", "https://two.example"))
    assert (hub.tags, hub.trust_for) == (TagMode.TRUST, 60.0)
    assert upstreams.registries["registry.example:5000"].plain_http


def test_the_environment_has_them_in_json() -> None:
    variable = {"REGISTRYD_UPSTREAMS_REGISTRIES": '{"ghcr.io": {"ca": "/etc/ca.pem"}}'}
    assert load(flags={}, environment=variable, file=None).upstreams.registries["ghcr.io"].ca == Path("/etc/ca.pem")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"ghcr.io": {"urll": "x"}}', "upstreams.registries: ghcr.io.urll: there is no such key"),
        ('{"ghcr.io": {"tags": "never"}}', "upstreams.registries: ghcr.io.tags: expected one of check, trust, digests"),
        ('{"ghcr.io": {"username": "me"}}', "upstreams.registries: ghcr.io: give username and password_file together"),
        ('{"ghcr.io": 1}', "upstreams.registries: ghcr.io: expected a table"),
        ("[]", "upstreams.registries: expected tables by name"),
        ('{"Ünd": {}}', "upstreams.registries: 'Ünd' is not a registry"),
    ],
)
def test_what_is_wrong_in_a_table_is_one_line(text: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(flags={}, environment={"REGISTRYD_UPSTREAMS_REGISTRIES": text}, file=None)
    assert str(caught.value).startswith(complaint)
