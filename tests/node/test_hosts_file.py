"""Our host comes first, goes out again, and nothing else changes: whatever a hosts.toml looks like."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.node.errors import CannotMerge
from registryd.node.hosts_entry import MARK, MirrorEntry
from registryd.node.hosts_file import hosts_in_order, put_first, take_out
from registryd.node.toml_sections import newline_of, quoted, sections_of

URL = "http://127.0.0.1:3172"
ENTRY = MirrorEntry(URL, headers=(("Registryd-Token", "secret"),))
CACHE = MirrorEntry("https://cache.lab:3172", is_next=True, headers=ENTRY.headers, authorities="/etc/ca.pem")

words = st.text("abcdef #[]=.\"'\\é\t", max_size=12)
comments = st.lists(words.map(lambda word: f"# {word.replace(chr(9), ' ')}\n"), max_size=2).map("".join)
gaps = st.sampled_from(["", "\n", "\n\n", "  \n"])
urls = st.sampled_from(["https://a.lab", "http://b.lab:5000", "https://c.lab/v2/x", "d.lab", "https://ü.lab"])
settings = st.lists(
    st.sampled_from(
        [
            'capabilities = ["pull"]\n',
            "capabilities = [\n  'pull', # [x]\n  'resolve'\n]\n",
            "override_path = true\n",
            'ca = "x.crt"\n',
            'client = [["a", "b"]]\n',
            "note = '''\n[host.\"http://no\"]\n'''\n",
            "skip_verify = false\n",
        ]
    ),
    unique_by=lambda line: line.split()[0],
    max_size=3,
).map("".join)


@st.composite
def hosts_tables(draw: st.DrawFn) -> str:
    text = ""
    for url in draw(st.lists(urls, unique=True, max_size=3)):
        indent = draw(st.sampled_from(["", "  ", "\t"]))
        text += draw(comments) + f"{indent}[host.{quoted(url)}]{draw(st.sampled_from(['', ' # own', '  ']))}\n"
        text += draw(settings) + draw(gaps)
        if draw(st.booleans()):
            text += f"{indent}[ host . {quoted(url)} . header ]\n  x-y = {quoted(draw(words))}\n" + draw(gaps)
    return text


@st.composite
def hosts_files(draw: st.DrawFn) -> str:
    head = (
        draw(comments) + draw(st.sampled_from(["", 'server = "https://s.lab"\n', "skip_verify = true\n"])) + draw(gaps)
    )
    body = draw(st.sampled_from(["", "[host]\n"])) + draw(hosts_tables())
    text = head + body + draw(comments)
    text = text.removesuffix("\n") if draw(st.booleans()) else text
    return text.replace("\n", "\r\n") if draw(st.booleans()) and "'''" not in text else text


def without(document: dict[str, Any], url: str) -> dict[str, Any]:
    hosts = {name: host for name, host in document.get("host", {}).items() if name != url}
    return {key: value for key, value in document.items() if key != "host"} | ({"host": hosts} if hosts else {})


@given(hosts_files())
def test_first_and_everything_else_equal(text: str) -> None:
    after = put_first(text, ENTRY)
    document = tomllib.loads(after)
    assert hosts_in_order(after) == [URL, *hosts_in_order(text)]
    assert without(document, URL) == without(tomllib.loads(text), URL)
    assert document["host"][URL] == {
        "capabilities": ["pull", "resolve"],
        "dial_timeout": "1s",
        "header": {"Registryd-Token": "secret"},
    }
    comments_of = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in after.splitlines() if line.lstrip().startswith("#") and line != MARK] == comments_of


@given(hosts_files())
def test_a_cache_comes_right_after_us(text: str) -> None:
    after = put_first(text, ENTRY, CACHE)
    assert hosts_in_order(after) == [URL, CACHE.url, *hosts_in_order(text)]
    assert tomllib.loads(after)["host"][CACHE.url] == {
        "capabilities": ["pull", "resolve"],
        "dial_timeout": "3s",
        "ca": "/etc/ca.pem",
        "header": {"Registryd-Token": "secret"},
    }
    assert tomllib.loads(take_out(after, CACHE.url)) == tomllib.loads(put_first(text, ENTRY))


@pytest.mark.parametrize("entries", [(ENTRY,), (ENTRY, CACHE), (MirrorEntry(URL), replace(CACHE, headers=()))])
@given(text=hosts_files())
def test_out_again_and_everything_else_equal(entries: tuple[MirrorEntry, ...], text: str) -> None:
    restored = take_out(put_first(text, *entries), *(entry.url for entry in entries))
    assert without(tomllib.loads(restored), URL) == without(tomllib.loads(text), URL)
    assert hosts_in_order(restored) == hosts_in_order(text)
    line_ended = text if not text or text.endswith("\n") or restored.endswith(text) else f"{text}{newline_of(text)}"
    assert restored in {text, line_ended}


@given(hosts_files())
def test_a_second_time_changes_nothing(text: str) -> None:
    once = put_first(text, ENTRY, CACHE)
    assert put_first(once, ENTRY, CACHE) == once


@given(hosts_files())
def test_sections_joined_are_the_text(text: str) -> None:
    assert "".join(section.text for section in sections_of(text)) == text


def test_a_comment_stays_above_its_host_and_the_first_line_first() -> None:
    text = '# File generated by k3s. DO NOT EDIT.\nserver = "x"\n# about a\n[host."https://a"]\n'
    lines = put_first(text, MirrorEntry(URL)).splitlines()
    assert lines[0] == "# File generated by k3s. DO NOT EDIT."
    assert lines[lines.index('[host."https://a"]') - 1] == "# about a"
    assert put_first("# about the file\n[host.'a']\n", MirrorEntry(URL)).startswith("# about the file\n")


def test_our_host_moves_to_the_front_if_it_is_there_already() -> None:
    text = f'[host."https://a"]\n[host."{URL}"]\n  skip_verify = true\n[host."https://b"]\n'
    after = put_first(text, MirrorEntry(URL))
    assert hosts_in_order(after) == [URL, "https://a", "https://b"]
    assert "skip_verify" not in after


def test_comments_that_someone_wrote_below_ours_stay() -> None:
    after = put_first('[host."https://a"]\n', MirrorEntry(URL))
    edited = after.replace('[host."https://a"]', '# theirs\n[host."https://a"]')
    assert take_out(edited, URL) == '# theirs\n[host."https://a"]\n'


@pytest.mark.parametrize(
    "text",
    [
        'host = {"https://a" = {capabilities = ["pull"]}}\n',
        '[host]\n"https://a" = {capabilities = ["pull"]}\n',
        '[host]\n"https://a".capabilities = ["pull"]\n',
        "not toml",
        "[[host]]\nx = 1\n",
    ],
)
def test_forms_without_a_place_for_ours_are_refused(text: str) -> None:
    with pytest.raises(CannotMerge):
        put_first(text, ENTRY)


def test_an_entry_written_inline_by_someone_is_named_not_lost() -> None:
    with pytest.raises(CannotMerge, match="only a person"):
        take_out(f'host = {{"{URL}" = {{capabilities = ["pull"]}}}}\n', URL)


def test_no_tls_settings_and_pull_only_without_resolve() -> None:
    table = tomllib.loads(MirrorEntry(URL, can_resolve=False).to_toml())["host"][URL]
    assert table == {"capabilities": ["pull"], "dial_timeout": "1s"}
