from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.apt import AptSource, debian_codename, own_source, parse_list, parse_sources
from lab.errors import UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

DEB822 = """\
# made by hand
Types: deb deb-src
# an old one
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb
URIs: http://mirror.test/security
Suites: bookworm-security
Components: main
"""


def test_deb822() -> None:
    first, second = parse_sources(DEB822)
    assert first == AptSource(
        "http://mirror.test/debian",
        frozenset({"bookworm", "bookworm-updates"}),
        frozenset({"main", "contrib"}),
        "/usr/share/keyrings/debian.gpg",
    )
    assert second.suites == {"bookworm-security"}
    assert second.signed_by == ""


def test_sources_that_are_off_do_not_count() -> None:
    assert not list(parse_sources("Types: deb-src\nURIs: http://a\nSuites: b\nComponents: main\n"))
    assert not list(parse_sources("Types: deb\nEnabled: no\nURIs: http://a\nSuites: b\nComponents: main\n"))


def test_a_key_in_the_file_goes_along() -> None:
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----"
    (source,) = parse_sources(f"Types: deb\nURIs: http://a\nSuites: b\nComponents: main\nSigned-By:{key}\n")
    assert source.stanza("sid").splitlines()[-3:] == [" .", " abc", " -----END PGP PUBLIC KEY BLOCK-----"]


def test_one_line_style() -> None:
    text = """
    deb-src http://mirror.test/debian bookworm main
    # deb http://old.test/debian bookworm main
    deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian bookworm main contrib # why
    deb http://plain.test/debian bookworm main
    """
    signed, plain = parse_list(text)
    assert (signed.uri, signed.signed_by) == ("http://mirror.test/debian", "/k.gpg")
    assert (plain.uri, plain.signed_by) == ("http://plain.test/debian", "")


def test_another_suite_of_the_same_archive() -> None:
    source = AptSource("http://mirror.test/debian", frozenset({"bookworm"}), frozenset({"main"}), "/k.gpg")
    assert source.stanza("sid") == (
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: sid\nComponents: main\nSigned-By: /k.gpg\n"
    )


@pytest.mark.parametrize("name", ["sources.list.d/debian.sources", "sources.list.d/debian.list", "sources.list"])
def test_the_machine_s_own_source_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(DEB822 if name.endswith(".sources") else "deb http://mirror.test/debian bookworm main\n")
    (tmp_path / "sources.list.d").mkdir(exist_ok=True)
    (tmp_path / "sources.list.d" / "another.list").write_text("deb http://vendor.test/apt stable main\n")
    assert own_source("bookworm", tmp_path).uri == "http://mirror.test/debian"


def test_a_machine_without_a_source_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no source for bookworm"):
        own_source("bookworm", tmp_path)


def test_the_codename_of_debian(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n\nVERSION_CODENAME=bookworm\nID=debian\n')
    assert debian_codename(path) == "bookworm"


@pytest.mark.parametrize("text", ["", "ID=fedora\n", 'ID="ubuntu"\nVERSION_CODENAME=noble\n'])
def test_elsewhere_there_is_no_debian(tmp_path: Path, text: str) -> None:
    path = tmp_path / "os-release"
    path.write_text(text)
    with pytest.raises(UnavailableError, match="only be had on Debian"):
        debian_codename(path)
