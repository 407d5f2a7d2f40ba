"""Which files containerd drops as a whole: as was seen on pulls of real ones, version by version."""

from __future__ import annotations

import pytest

from registryd.node.hosts_meaning import ignored_because
from registryd.node.release import Release

US = '[host."http://127.0.0.1:3172"]\n'
OLD, MIDDLE, NEW = Release((1, 7, 24)), Release((2, 1, 9)), Release((2, 4, 2))
EVERY = (Release((1, 6, 20)), OLD, MIDDLE, Release((2, 3, 7)), NEW, Release())

# In 1.6.20, 1.7.24, 2.1.9, 2.3.7 and 2.4.2 alike.
HEEDED = (
    US,
    "",
    f'{US}capabilities = ["PULL", "Resolve", "push"]\n',
    f"{US}capabilities = []\n",
    f'{US}dial_timeout = "1.5s"\n',
    f'{US}dial_timeout = "1h2m3s"\n',
    f'{US}dial_timeout = ""\n',
    f"{US}frob = 1\n",
    f'server = "x.lab"\n{US}',
    f'server = "https://x.lab/v2/proxy?a=b%20c"\n{US}',
    f'{US}[host."http://127.0.0.1:3172".rewrite]\n"a" = "b"\n',
    f'server = "https://[fd00::1]:5000/v2"\n{US}',
    f'{US}[host."httpd.lab:5000"]\n[host."httpbin.lab"]\n[host."http:b"]\n[host."http:/b"]\n[host."httpx://b"]\n',
    f'{US}[host."http://a@b@c"]\n[host."http://b?a=%zz"]\n',
)
DROPPED = {
    f'{US}capabilities = ["pull", "frob"]\n': 'capabilities has "frob"',
    f'capabilities = ["frob"]\n{US}': "no such capability",
    f'server = "http://a b/"\n{US}': "'http://a b/' is not a URL",
    f'{US}[host."http://%zz"]\n': "is not a URL",
    f'{US}[host."http://a:bc"]\n': "is not a URL",
    f"server = 5\n{US}": "server is not a text",
    f'{US}skip_verify = "yes"\n': "skip_verify has the wrong type",
    f'{US}override_path = "yes"\n': "override_path has the wrong type",
    f'{US}[host."http://b"]\nca = 5\n': "ca has the wrong type",
    f'{US}[host."http://b".header]\nx = 5\n': "header has the wrong type",
    "[host\n": "not TOML",
}
# Since 2.0.7 and 2.1; before that the key is passed over.
DROPPED_LATER = {
    f'{US}dial_timeout = "5"\n': 'dial_timeout is "5"',
    f"{US}dial_timeout = 5\n": "dial_timeout has the wrong type",
    f'{US}dial_timeout = "1 s"\n': "not a time with its unit",
    f'{US}dial_timeout = "1d"\n': "not a time with its unit",
    f'dial_timeout = "x"\n{US}': 'dial_timeout is "x"',
}
# In 1.6.20 and 1.7.24 the name of a table has no bracket, quoted or not.
WITH_BRACKETS = (
    f'{US}[host."http://[::1]:5000"]\n',
    f"[host.'https://[fd00::1]:5000/v2']\n{US}",
    f'{US}[host."http://[fe80::1%25eth0]:1".header]\nx = "y"\n',
)
REFERRERS = f'{US}capabilities = ["pull", "resolve", "referrers"]\n'


@pytest.mark.parametrize("release", EVERY, ids=str)
@pytest.mark.parametrize("text", HEEDED)
def test_what_is_heeded(text: str, release: Release) -> None:
    assert ignored_because(text.encode(), release) is None


@pytest.mark.parametrize("release", EVERY, ids=str)
@pytest.mark.parametrize(("text", "why"), DROPPED.items())
def test_what_is_dropped(text: str, why: str, release: Release) -> None:
    assert why in (ignored_because(text.encode(), release) or "")


@pytest.mark.parametrize("text", WITH_BRACKETS)
def test_an_address_of_ipv6_is_read_since_2_0(text: str) -> None:
    for release in (Release((1, 6, 20)), OLD):
        assert "has a bracket" in (ignored_because(text.encode(), release) or "")
    for release in (MIDDLE, Release((2, 3, 7)), NEW, Release()):
        assert ignored_because(text.encode(), release) is None
    zone = f'{US}[host."http://[fe80::1%eth0]:1"]\n'.encode()
    assert "is not a URL" in (ignored_because(zone, NEW) or "")


@pytest.mark.parametrize(("text", "why"), DROPPED_LATER.items())
def test_what_is_dropped_since_there_is_a_dial_timeout(text: str, why: str) -> None:
    assert ignored_because(text.encode(), OLD) is None
    for release in (MIDDLE, NEW, Release((2, 0, 7)), Release()):
        assert why in (ignored_because(text.encode(), release) or "")
    assert ignored_because(text.encode(), Release((2, 0, 6))) is None


@pytest.mark.parametrize(
    ("release", "is_known"), [(OLD, False), (MIDDLE, False), (Release((2, 2, 0)), True), (NEW, True)]
)
def test_referrers_came_with_2_2(release: Release, *, is_known: bool) -> None:
    assert (ignored_because(REFERRERS.encode(), release) is None) is is_known
