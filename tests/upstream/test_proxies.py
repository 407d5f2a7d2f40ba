"""The proxy environment as containerd reads it."""

from __future__ import annotations

import pytest
from yarl import URL

from registryd.upstream.proxies import Proxies, Proxy

PROXY = "http://proxy.corp:3128"


def chosen(url: str, **environment: str) -> URL | None:
    proxy = Proxies.from_environment(environment).for_url(URL(url))
    return proxy.url if proxy else None


def test_each_scheme_has_its_own() -> None:
    environment = {"HTTP_PROXY": "http://one:1", "https_proxy": "two:2"}
    assert chosen("http://registry.example/v2/", **environment) == URL("http://one:1")
    assert chosen("https://registry.example/v2/", **environment) == URL("http://two:2")
    assert chosen("https://registry.example/v2/") is None


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("*", "registry.example"),
        ("registry.example", "registry.example"),
        ("registry.example", "eu.registry.example"),
        ("REGISTRY.example", "Registry.Example."),
        (".example", "registry.example"),
        ("*.example", "registry.example"),
        ("a, registry.example:5000 ,b", "registry.example:5000"),
        ("10.0.0.0/8", "10.96.0.1"),
        ("10.0.0.7", "10.0.0.7:5000"),
        ("fd00::/8", "[fd00::1]:5000"),
        ("[fd00::1]:5000", "[fd00::1]:5000"),
        ("", "127.0.0.1:5000"),
        ("", "[::1]:5000"),
        ("", "localhost:5000"),
    ],
)
def test_exceptions(no_proxy: str, host: str) -> None:
    assert chosen(f"https://{host}/v2/", HTTPS_PROXY=PROXY, NO_PROXY=no_proxy) is None


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("registry.example", "notregistry.example"),
        (".registry.example", "registry.example"),
        ("registry.example:5000", "registry.example"),
        ("10.0.0.0/8", "11.0.0.1"),
        ("10.0.0.0/8", "10.example"),
        ("10.0.0.0/99", "10.0.0.1"),
        ("0.0.0.1", "10.0.0.1"),
    ],
)
def test_no_exceptions(no_proxy: str, host: str) -> None:
    assert chosen(f"https://{host}/v2/", HTTPS_PROXY=PROXY, NO_PROXY=no_proxy) == URL(PROXY)


@pytest.mark.parametrize("proxy", ["socks5://user:secret@proxy:1", "http://", "http://user:secret@[::1/"])
def test_what_is_no_proxy_is_refused_without_being_repeated(proxy: str) -> None:
    with pytest.raises(ValueError, match="http") as caught:
        Proxies.from_environment({"HTTPS_PROXY": proxy})
    assert "secret" not in str(caught.value)


def test_a_login_is_taken_out_of_the_address_and_not_shown() -> None:
    proxies = Proxies.from_environment({"HTTP_PROXY": "http://user:sec%40ret@proxy:1"})
    assert proxies.http == Proxy(URL("http://proxy:1"), "Basic dXNlcjpzZWNAcmV0")
    assert "dXNl" not in repr(proxies)
