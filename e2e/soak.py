"""Pulls while faults come at random: `./dev soak --pulls 300 --seed 7`. Exits with 1 if a pull fails or anything leaks.

Every node pulls one image after the other, each time with other peers: some of them agents of other nodes, most of them
bad. Meanwhile agents are killed and restarted, links change their rate, discovery is lost. All choices follow from the
seed, which is printed; when they take effect is up to the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import secrets
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from e2e.faults.field import open_field
from e2e.faults.leaks import require_nothing_left
from e2e.hurried import soak as hurried
from lab.agent import PEERS_PORT
from lab.cluster import ORIGIN
from lab.errors import LabError, PullError
from lab.faults.characters import CHARACTERS
from lab.versions import REPRESENTATIVE_SERIES, obtain

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from e2e.faults.field import Field
    from e2e.faults.puller import Puller
    from lab.images import Image

KINDS: Final = ("red", "green", "blue", "white", "black")
_LIMIT_SECONDS: Final = 90.0  # several bad peers one after the other, on a machine with two processors
# A kubelet goes on for ever. A peer's wrong content fails one try; an agent that was killed has forgotten which peer's.
_TRIES: Final = 4
# What containerd says when it was given wrong content: a pull may fail by that, and must succeed when tried again.
_WRONG_CONTENT: Final = ("unexpected commit", "short read", "failed size validation")
_MOST_BAD_PEERS: Final = 4
_EVENT_SECONDS: Final = (0.5, 3.0)
_MEGABITS: Final = (50, 100, 200, 400)


@dataclass
class Record:
    """What happened."""

    seconds: list[float] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    tried_again: int = 0

    def lines(self) -> list[str]:
        quantiles = statistics.quantiles(self.seconds, n=20) if len(self.seconds) > 1 else [0.0] * 19
        events = ", ".join(f"{count} {what}" for what, count in sorted(self.events.items()))
        return [
            f"pulls: {len(self.seconds)}, {self.tried_again} of them tried again after wrong content",
            f"seconds: median {quantiles[9]:.1f}, 95 % {quantiles[18]:.1f}, longest {max(self.seconds, default=0):.1f}",
            f"meanwhile: {events or 'nothing'}",
            f"failed: {len(self.failures)}",
            *self.failures,
        ]


class Soak:
    """One run in a field; its choices are the seed's."""

    def __init__(self, ground: Field, *, pulls: int, seed: int) -> None:
        self.record = Record()
        self._field = ground
        self._left = pulls
        self._seed = seed
        self._is_over = asyncio.Event()

    async def run(self) -> None:
        """Return when all pulls are through and everything is as at first; LabError for what leaks."""
        chaos = asyncio.create_task(self._disturb(random.Random(self._seed)), name="chaos")
        try:
            async with asyncio.TaskGroup() as group:
                for number, puller in enumerate(self._field.pullers):
                    group.create_task(self._pull_on(puller, random.Random(self._seed + number + 1)))
        finally:
            self._is_over.set()
            await chaos
        await require_nothing_left(self._field)

    # Pulling

    async def _pull_on(self, puller: Puller, chance: random.Random) -> None:
        while self._left > 0:
            self._left -= 1
            image = chance.choice(self._field.images)
            await puller.mortal.revive()
            puller.list_peers(*self._some_peers(puller, chance))
            await self._pull(puller, image)

    def _some_peers(self, puller: Puller, chance: random.Random) -> list[str]:
        """Some bad peers, some good ones, some other nodes; sometimes nobody at all."""
        names = chance.sample(list(CHARACTERS), chance.randint(0, _MOST_BAD_PEERS))
        bad = [self._field.peer(name, puller, accompanied=chance.random() < 1 / 2) for name in names]
        others = [other for other in self._field.pullers if other is not puller]
        chosen = chance.sample(others, chance.randint(0, len(others)))
        return [*bad, *(f"{other.node.host.ipv4}:{PEERS_PORT}" for other in chosen)]

    async def _pull(self, puller: Puller, image: Image) -> None:
        reference = f"{ORIGIN}/faults/{image.tag}:{image.tag}"
        began = time.monotonic()
        for number in range(1, _TRIES + 1):
            try:
                await puller.node.pull(reference, timeout=_LIMIT_SECONDS)
            except PullError as error:
                if number < _TRIES and any(text in str(error) for text in _WRONG_CONTENT):
                    self.record.tried_again += number == 1
                    await puller.wait_thrown_away()
                    continue
                self.record.failures.append(f"{puller.name}, {image.tag}: {error}")
            break
        self.record.seconds.append(time.monotonic() - began)
        await puller.forget(reference, image)

    # Disturbing

    async def _disturb(self, chance: random.Random) -> None:
        deeds: Sequence[Callable[[Puller, random.Random], Coroutine[Any, Any, str]]] = (
            _kill_agent,
            _restart_agent,
            _change_rate,
            _lose_discovery,
        )
        while not self._is_over.is_set():
            await asyncio.sleep(chance.uniform(*_EVENT_SECONDS))
            deed = chance.choice(deeds)
            self.record.events[await deed(chance.choice(self._field.pullers), chance)] += 1


async def _kill_agent(puller: Puller, _chance: random.Random) -> str:
    await puller.agent.kill()
    await puller.agent.start()
    return "agents killed"


async def _restart_agent(puller: Puller, _chance: random.Random) -> str:
    await puller.agent.restart()
    return "agents restarted"


async def _change_rate(puller: Puller, chance: random.Random) -> str:
    await puller.node.host.limit(chance.choice(_MEGABITS))
    return "links changed"


async def _lose_discovery(puller: Puller, _chance: random.Random) -> str:
    puller.peers_file.unlink(missing_ok=True)
    return "lists of peers lost"


async def soak(*, pulls: int, seed: int) -> Record:
    """Run it; raises LabError for what leaks. Failed pulls are in the record."""
    releases = [await obtain(series) for series in REPRESENTATIVE_SERIES]
    async with open_field(releases, *KINDS) as ground:
        run = Soak(ground, pulls=pulls, seed=seed)
        try:
            await run.run()
        finally:
            print(f"seed: {seed}", *run.record.lines(), sep="\n", flush=True)
            if run.record.failures:
                ground.cluster.log_what_agents_said()
        return run.record


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--pulls", type=int, default=300)
    parser.add_argument("--minutes", type=float, help="instead: pulls without faults, an hour lasting a minute")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    options = parser.parse_args()
    if options.minutes:
        print(f"{options.minutes:g} minutes, seed {options.seed}", flush=True)
        return 1 if asyncio.run(hurried.soak(minutes=options.minutes, seed=options.seed)).faults() else 0
    print(f"{options.pulls} pulls, seed {options.seed}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            record = asyncio.run(soak(pulls=options.pulls, seed=options.seed))
        except LabError as error:
            print(error)
            return 1
        return 1 if record.failures else 0
    return 130


if __name__ == "__main__":
    sys.exit(main())
