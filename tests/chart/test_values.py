"""Values that people write by mistake: one clear error, or the right output; never a node that finds out later."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from helm_python import HelmError

from registryd.config.bandwidth import parse_limits
from registryd.config.keeping import KeepRule
from registryd.config.loader import load
from registryd.config.name_patterns import NamePattern
from registryd.content.blocked import BlockRules
from registryd.inventory.lists import ListInvalid, parse_list
from tests.chart.conftest import CHART, variables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.chart.conftest import Helm, Object

HEX = "0123456789abcdef" * 4
GIVEN = dict.fromkeys(("HOST_IP", "POD_IP"), "10.1.2.3") | {
    "NODE_NAME": "node-a",
    "NODE_ZONE": "",
    "POD_NAME": "cache-x",
}


def error_of(helm: Helm, values: Object) -> str:
    """What Helm says of the values; empty when it takes them."""
    try:
        helm.render(values)
    except HelmError as error:
        return str(error)
    return ""


def is_taken(helm: Helm, values: Object) -> bool:
    said = error_of(helm, values)
    assert "\n" not in said
    assert not said or "execution error at (registryd/templates/daemonset.yaml" in said
    return not said


# Words that the program reads


IMAGES = {
    "alpine": True,
    "alpine:3": True,
    "docker.io/library/alpine:3": True,
    "ghcr.io/corp/app__x/y-z:V1.2_3": True,
    "reg.lab:5000/app": True,
    "localhost/app": True,
    "localhost:5000/app:v1": True,
    f"ghcr.io/corp/app@sha256:{HEX}": True,
    f"ghcr.io/corp/app:v1@sha256:{HEX}": True,
    "ghcr.io/Corp/app": False,
    "UPPER/app": False,
    "a:b:c": False,
    "ghcr.io/corp/*": False,
    "ghcr.io/corp/app:": False,
    "ghcr.io/corp/app@sha256:abc": False,
    "ghcr.io//app": False,
    "ghcr.io/app/": False,
    "https://ghcr.io/app": False,
    f"app:{'x' * 129}": False,
}
PATTERNS = {
    "ghcr.io/corp/*": True,
    "*:latest": True,
    "*/pause:*": True,
    "docker.io/nginx": True,
    "reg.lab:5000/app:v?": True,
    "*.lab/app": True,
    "[fd00::5]:5000/app": True,
    "localhost/app": True,
    f"ghcr.io/corp/app@sha256:{HEX}": True,
    "nginx": False,
    "corp/app": False,
    "UPPER/*": False,
    "ghcr.io/Corp/app": False,
    "ghcr.io//app": False,
    "ghcr.io/app/": False,
    "https://ghcr.io/app": False,
}
DIGESTS = {f"sha256:{HEX}": True, f"sha512:{HEX}{HEX}": True, "sha256:abc": False, f"sha512:{HEX}": False}
WANTED = {
    "ghcr.io/corp/* copies=3": True,
    "ghcr.io/corp/* copies=3 zones=2": True,
    "ghcr.io/corp/* zones=2 copies=3": True,
    "ghcr.io/corp/* copies=1": True,
    "ghcr.io/corp/* copies=8 zones=8": True,
    "ghcr.io/corp/* copies=2 zones=3": False,
    "ghcr.io/corp/* copies=2 copies=2": False,
    "ghcr.io/corp/* zones=2": False,
    "ghcr.io/corp/* copies=9": False,
    "ghcr.io/corp/* copies=0": False,
    "ghcr.io/corp/* copies=2 zones=0": False,
    "corp/* copies=2": False,
}
LIMITS = {
    "upload=20MiB": True,
    "mon-fri 08:00-18:00 upload=20MiB download=50MiB background=10%": True,
    "sat sun origin=1.5GB": True,
    "22:00-06:00 upload=0B # at night": True,
    "# nothing": True,
    "": True,
    "upload=20MiB mon": True,
    "uplaod=20MiB": False,
    "mon-fri": False,
    "upload=20": False,
    "background=0%": False,
    "background=101%": False,
    "25:00-26:00 upload=20MiB": False,
    "monday upload=20MiB": False,
}


def block(text: str) -> None:
    if BlockRules.parse([text]).useless:
        raise ValueError(text)


@pytest.mark.parametrize(
    ("samples", "read", "values"),
    [
        (IMAGES, parse_list, lambda text: {"prefetch": {"images": [text]}}),
        (IMAGES, parse_list, lambda text: {"prefetch": {"lists": {"gpu": {"images": [text]}}}}),
        (PATTERNS | DIGESTS, block, lambda text: {"images": {"block": [text]}}),
        (PATTERNS, NamePattern.parse, lambda text: {"cache": {"pinned": [text]}}),
        (PATTERNS, lambda text: KeepRule.parse(f"{text} copies=2"), lambda t: {"images": {"keep": [f"{t} copies=2"]}}),
        (WANTED, KeepRule.parse, lambda text: {"images": {"keep": [text]}}),
        (LIMITS, lambda text: parse_limits([text]), lambda text: {"bandwidth": {"limits": [text]}}),
    ],
    ids=[
        "prefetch.images",
        "prefetch.lists",
        "images.block",
        "cache.pinned",
        "images.keep",
        "copies",
        "bandwidth.limits",
    ],
)
def test_the_chart_takes_what_the_program_reads_and_nothing_else(
    helm: Helm, samples: dict[str, bool], read: Callable[[str], Any], values: Callable[[str], Object]
) -> None:
    def is_read(text: str) -> bool:
        try:
            read(text)
        except (ValueError, ListInvalid):
            return False
        return True

    assert {text: is_read(text) for text in samples} == samples
    assert {text: is_taken(helm, values(text)) for text in samples} == samples


# Names


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("registryd", {}, "registryd"),
        ("images", {}, "images-registryd"),
        ("images.v2", {}, "images-v2-registryd"),
        ("2nd", {}, "registryd-2nd"),
        ("2nd.registryd", {}, "registryd-2nd-registryd"),
        ("a" * 48 + "--b", {}, "a" * 48),
        ("registryd", {"nameOverride": "a.b"}, "registryd-a-b"),
        ("registryd", {"nameOverride": "a" * 48 + "-.b"}, "registryd-" + "a" * 40),
        ("registryd", {"fullnameOverride": "a" * 48 + "--b"}, "a" * 48),
    ],
)
def test_kubernetes_takes_the_names(helm: Helm, release: str, values: Object, name: str) -> None:
    lists = {"a" * 30: {"images": ["alpine"]}, "a--b": {"images": ["alpine"]}}
    everything = {"cache": {"enabled": True}, "prefetch": {"images": ["alpine"], "lists": lists}}
    rendered = helm.render_as(release, values | everything | {"certManager": {"enabled": True}})
    assert name in {each["metadata"]["name"] for each in rendered.all("DaemonSet")}
    for each in rendered.objects:
        own = each["metadata"]["name"]
        # Services have the strictest rule (RFC 1035). The name of a Job is a label of its pods.
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", own), own
        assert len(own) <= (63 if each["kind"] in {"Service", "Job", "Pod"} else 253)
        for value in labels_of(each):
            assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value), value


def labels_of(item: Any) -> Iterator[str]:
    """Everywhere in an object."""
    for key, value in item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ():
        if key in {"labels", "matchLabels"} and isinstance(value, dict):
            yield from value.values()
        yield from labels_of(value)


# Null, which in Helm takes away the chart's own value


def keys_of(values: Object, schema: Object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (*above, name)
        below = schema.get("properties", {}).get(name, {})
        if isinstance(value, dict) and "properties" in below:
            yield from keys_of(value, below, (*above, name))


KEYS = list(
    keys_of(yaml.safe_load((CHART / "values.yaml").read_text()), json.loads((CHART / "values.schema.json").read_text()))
)
WITH_ALL = {"cache": {"enabled": True}, "prefetch": {"images": ["alpine"]}}


@pytest.mark.parametrize("key", KEYS, ids=map(".".join, KEYS))
def test_null_stands_for_nothing_or_is_refused(helm: Helm, key: tuple[str, ...]) -> None:
    values: Object = deepcopy(WITH_ALL)
    section = values
    for name in key[:-1]:
        section = section.setdefault(name, {})
    section[key[-1]] = None
    if said := error_of(helm, values):
        assert re.search(rf"- at '/?{'/'.join(key[:-1])}': missing property '{key[-1]}'", said)
        return
    rendered = helm.render(values)
    text = json.dumps(rendered.objects) + rendered.notes
    assert "<nil>" not in text
    assert "%!" not in text
    for each in rendered.objects:
        kubernetes_validate.validate(each, "1.37", strict=True)
    load(flags={}, environment=variables_of(rendered.agent, GIVEN), file=None)
