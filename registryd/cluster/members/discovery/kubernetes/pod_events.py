"""Events on this agent's own pod, as `kubectl describe pod` shows them: one request each, and the right to create."""

from __future__ import annotations

import os
import re
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp

from registryd.cluster.members.discovery.kubernetes.account import MOUNTED, ServiceAccount
from registryd.cluster.members.discovery.kubernetes.answers import explain
from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

_SECONDS: Final = 10
_LARGEST_REFUSAL: Final = 64 << 10
_CREATED: Final = 201
# The length of a message that the API server accepts (core/v1 Event, validation).
_LONGEST_MESSAGE: Final = 1024
_POD: Final = re.compile(
    r"(?P<namespace>[a-z0-9][a-z0-9-]{0,62})/(?P<name>[a-z0-9][a-z0-9.-]{0,252})/(?P<uid>[A-Za-z0-9-]{1,64})"
)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as an event names it; by its `uid` kubectl finds what belongs to it."""

    namespace: str
    name: str
    uid: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `namespace/name/uid`; raises ValueError."""
        match = _POD.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:100]!r} is not namespace/name/uid of a pod")
        return cls(**match.groupdict())


class PodEvents:
    """Made by `open_pod_events`."""

    def __init__(self, session: aiohttp.ClientSession, account: ServiceAccount, pod: Pod, node: str) -> None:
        self._session = session
        self._account = account
        self._pod = pod
        self._node = node

    async def write(self, reason: str, message: str) -> None:
        """Make one event. Raises ApiFailed."""
        url = f"https://{self._account.server}/api/v1/namespaces/{self._pod.namespace}/events"
        headers = {"Authorization": f"Bearer {self._account.token()}"}
        try:
            async with self._session.post(
                url,
                json=event_of(self._pod, self._node, reason, message),
                headers=headers,
                ssl=self._account.tls(),
                timeout=aiohttp.ClientTimeout(total=_SECONDS),
                # The token is for this server and for no other.
                allow_redirects=False,
            ) as answer:
                if answer.status != _CREATED:
                    said = explain(await answer.content.read(_LARGEST_REFUSAL))
                    raise ApiFailed(f"the API server answered {answer.status}{': ' if said else ''}{said}")
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise ApiFailed(f"{self._account.server}: {str(error) or type(error).__name__}") from error


def event_of(pod: Pod, node: str, reason: str, message: str) -> dict[str, Any]:
    """A core/v1 Event, as JSON."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    whole = len(message) <= _LONGEST_MESSAGE
    return {
        "apiVersion": "v1",
        "kind": "Event",
        # A name has up to 253 letters, and so has a pod's.
        "metadata": {"namespace": pod.namespace, "name": f"{pod.name[:200].rstrip('.-')}.{uuid.uuid4().hex[:16]}"},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
        },
        "reason": reason,
        "message": message if whole else f"{message[: _LONGEST_MESSAGE - 1]}…",
        "type": "Normal",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": "registryd", "host": node},
        "reportingComponent": "registryd",
        "reportingInstance": pod.name,
    }


@asynccontextmanager
async def open_pod_events(
    pod: Pod, node: str, *, environment: Mapping[str, str] = os.environ, folder: Path = MOUNTED
) -> AsyncIterator[PodEvents]:
    """For the length of the block. Raises NotInCluster where there is no service account."""
    account = ServiceAccount.of_this_pod(environment, folder=folder)
    # A connection for each: there are few, and minutes between them.
    connector = aiohttp.TCPConnector(force_close=True)
    headers = {"User-Agent": "registryd", "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield PodEvents(session, account, pod, node)
