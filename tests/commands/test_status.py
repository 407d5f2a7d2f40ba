"""`registryd status` asks the agent of this node, and says so when there is none."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from rich.console import Console

from registryd.__main__ import main
from registryd.commands.status import _ask, _shown
from registryd.config.agent import AdminSettings, Settings
from registryd.failures import CommandFailed
from registryd.notation import Address
from registryd.serving.listener import open_door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DIGEST = f"sha256:0123456789ab{'c' * 52}"
VITALS: dict[str, Any] = {
    "name": "node-1",
    "version": "1.2.3",
    "up_seconds": 7300,
    "images": 12,
    "transfers": 1,
    "received_bytes": 5_000_000,
    "sent_bytes": 1000,
    "requests": 4,
    "hits": 3,
    "problem": "",
}
TRANSFER = {
    "name": f"docker.io/library/alpine@{DIGEST}",
    "digest": DIGEST,
    "size": 2000,
    "sent": 500,
    "source": "peer",
    "receiver": "containerd",
    "outcome": "running",
}
STATUS = {"node": VITALS, "transfers": {"running": [TRANSFER], "recent": []}}
MEMBERS: list[dict[str, Any]] = [
    {"address": "10.0.0.2:3173", "state": "up", "problem": "", "vitals": VITALS | {"name": "node-2"}},
    {
        "address": "10.0.0.3:3173",
        "state": "set aside",
        "reason": "refused",
        "since": 1_790_000_000.0,
        "problem": "refused",
        "vitals": None,
    },
]


@asynccontextmanager
async def agent(status: int = 200) -> AsyncIterator[Settings]:
    async def answer(request: web.BaseRequest) -> web.Response:
        document = STATUS if request.path == "/status" else {"members": MEMBERS}
        return web.Response(text=json.dumps(document), status=status)

    async with open_door(answer, Address("127.0.0.1", 0)) as door:
        yield Settings(admin=AdminSettings(listen=door.address))


async def shown(width: int) -> str:
    async with agent() as settings:
        answer = await _ask(settings)
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(_shown(answer))
    return console.export_text()


async def test_members_and_transfers_are_shown() -> None:
    text = await shown(160)
    for word in ("node-1", "node-2", "1.2.3", "75 %", "5.0 MB", "2 h", "refused, since", "alpine"):
        assert word in text


async def test_no_table_is_shown_of_transfers_where_there_are_none() -> None:
    async with agent() as settings:
        answer = await _ask(settings)
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(_shown({**answer, "transfers": {"running": [], "recent": []}}))
    text = console.export_text()
    assert "Members" in text
    assert "Transfers" not in text


async def test_zones_are_shown_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    assert " zone " not in await shown(160)
    monkeypatch.setitem(MEMBERS[0], "vitals", VITALS | {"name": "node-2", "zone": "eu-west-1b"})
    text = await shown(160)
    assert " zone " in text
    assert "eu-west-1b" in text
    (own,) = [line for line in text.splitlines() if "this node" in line]
    assert " - " in own


async def test_a_pipe_gets_lines_that_are_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    async with agent() as settings:
        assert await asyncio.to_thread(main, ["status", "--admin.listen", str(settings.admin.listen)]) == 0
    text = capsys.readouterr().out
    assert "docker.io/library/alpine@sha256:0123456789ab " in text
    assert "…" not in text


async def test_nothing_is_cut_off_on_a_narrow_terminal() -> None:
    text = await shown(80)
    assert "…" not in text
    for word in ("node-1", "1.2.3", "ready", "75 %", "2 h", "refused,", "10.0.0.2:3173", "10.0.0.3:3173"):
        assert word in text


async def test_no_agent_is_one_line() -> None:
    with pytest.raises(CommandFailed, match=r"no agent answers at 127\.0\.0\.1:9"):
        await _ask(Settings(admin=AdminSettings(listen=Address("127.0.0.1", 9))))


async def test_an_agent_that_starts_is_no_answer() -> None:
    async with agent(status=503) as settings:
        with pytest.raises(CommandFailed, match="503"):
            await _ask(settings)
