import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.notation import Address, format_duration, format_size, is_registry, parse_duration, parse_size

PORTS = st.integers(0, 65535)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3s", 3),
        ("200ms", 0.2),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("0s", 0),
        ("2m", 120),
        ("1m200ms", 60.2),
        ("0.5s", 0.5),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "3", "-3s", "3 s", "s", "30s1m", "3S", "3s ", "1e3s", "inf", "3sec", "٣s", "3s\n"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@given(st.integers(0, 10**10))
def test_a_duration_survives_writing_and_reading(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "count"),
    [("64MiB", 64 << 20), ("1.5GB", 1_500_000_000), ("512B", 512), ("1 KiB", 1024), ("0B", 0), ("2TiB", 2 << 40)],
)
def test_a_size_is_read_as_bytes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "64", "-1B", "1iB", "1kb", "MiB", "1MiB ", "1PiB", "0x1B", "٣B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@given(st.integers(0, 1 << 60))
def test_a_size_survives_writing_and_reading(count: int) -> None:
    assert parse_size(format_size(count)) == count


@given(st.ip_addresses(), PORTS)
def test_an_ip_address_survives_writing_and_reading(host: object, port: int) -> None:
    address = Address(str(host), port)
    assert Address.parse(str(address)) == address


@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,8})*", fullmatch=True), PORTS)
def test_a_host_name_survives_writing_and_reading(host: str, port: int) -> None:
    assert Address.parse(f"{host}:{port}") == Address(host, port)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "a",
        "a:",
        "a:x",
        "a:65536",
        "a:-1",
        "::1:80",
        "[a]:1",
        "[::1]",
        "a b:1",
        "a/b:1",
        "a:1\n",
        "-a:1",
        "a:٣",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not (host:port|a host|a port)"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
    ],
)
def test_only_what_this_machine_alone_reaches_is_loopback(host: str, *, is_loopback: bool) -> None:
    assert Address(host, 0).is_loopback is is_loopback


@pytest.mark.parametrize(
    "text", ["docker.io", "registry.example:5000", "localhost", "[::1]:5000", "10.0.0.1:65535", "Docker.io"]
)
def test_what_is_a_registry(text: str) -> None:
    assert is_registry(text)


@pytest.mark.parametrize(
    "text",
    ["", "a..b", "https://docker.io", "docker.io/library", "a:0", "a:65536", "[zz]", f"{'a.' * 128}b"],
)
def test_what_is_no_registry(text: str) -> None:
    assert not is_registry(text)
