"""The status page in a real browser: a phone, a laptop, a wall; an idle, a busy, a damaged cluster."""

from __future__ import annotations

import html
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from documentation.page_pictures import WIDTHS, browse
from lab.commands import require
from registryd.notation import Address
from registryd.observability.metrics import Metrics
from registryd.serving.admin import BODIES_AT, AdminDoor
from registryd.serving.listener import open_door
from tests.fakes.overviews import overview

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.timeout(300)

# The page in a frame of a width, and what is seen of it.
_FRAME = """<!doctype html><iframe id="frame" src="/" width="{width}" height="3000" style="border:0"></iframe>
<pre id="seen"></pre><script>setInterval(() => {{ const page = frame.contentDocument.documentElement;
const wide = [...page.querySelectorAll("section, .tile, #problems li")].filter(e => e.scrollWidth > e.clientWidth + 1);
seen.textContent = JSON.stringify({{ over: page.scrollWidth - page.clientWidth,
  wide: wide.map(e => e.innerText.slice(0, 60)),
  text: page.innerText, loaded: performance.getEntriesByType("resource").map(e => e.name) }}); }}, 200);</script>"""

SAID = {
    "idle": ["All is well.", "12 of 12", "Nothing is on its way", "3 of 12"],
    "busy": [
        "node1 gives",
        "node2",
        "90 % of 812.0 MB",
        "and from 1 more",
        "into node1: 734.0 MB",
        "Copies that this node keeps",
        "3 of 3 wanted",
    ],
    "damaged": [
        "9 of 12",
        "node3: no answer, since",
        "10.0.0.11:3173: clock, since",
        "alone",
        "1 of 3 wanted",
        "Is the node up?",
        "another secret",
        "Mend the clocks (NTP).",
        "node5: containerd does not answer",
        "Agents of 2 versions",
        "3 images are on one node only",
        "node1 (1), node4 (2)",
        "left a slow source: 10.0.0.8",
    ],
    "odd": [
        "This node and 9 of 11 members: another secret, since",
        "It is this node that has",
        "node5: no answer, since",
    ],
}


@asynccontextmanager
async def framing(kind: str, width: int) -> AsyncIterator[Address]:
    async def not_ready() -> None:
        return None

    door = AdminDoor(metrics=Metrics(), not_ready=not_ready)
    door.show(overview(kind))

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/frame":
            return web.Response(text=_FRAME.format(width=width), content_type="text/html")
        return await door.handle(request)

    async with open_door(handle, Address("127.0.0.1", 0), bodies_at=BODIES_AT) as opened:
        yield opened.address


async def seen_at(kind: str, width: int) -> dict[str, Any]:
    require("chromium", package="chromium")
    async with framing(kind, width) as address:
        dump = await browse(address, "--dump-dom", f"--window-size={width + 40},1000", path="/frame")
    match = re.search(r'<pre id="seen">(.*?)</pre>', dump, re.DOTALL)
    assert match, dump[:2000]
    seen: dict[str, Any] = json.loads(html.unescape(match[1]))
    return seen


@pytest.mark.parametrize("kind", SAID)
@pytest.mark.parametrize("width", WIDTHS)
async def test_the_page_says_what_is_so_and_fits(kind: str, width: int) -> None:
    seen = await seen_at(kind, width)
    for words in SAID[kind]:
        assert words in seen["text"], f"{words!r} is not in {seen['text']}"
    assert seen["over"] <= 0
    assert seen["wide"] == []
    assert ("All is well." in seen["text"]) == (kind in {"idle", "busy"})
    assert all("127.0.0.1" in name for name in seen["loaded"])
