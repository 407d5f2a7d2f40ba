"""Telling others than the log of each pull: an event of Kubernetes, a span of OpenTelemetry; neither unasked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from registryd.config.agent import SettingsError

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from registryd.aio.scope import Scope
    from registryd.config.agent import Settings
    from registryd.content.pull_log import PullLog


async def tell_pulls(settings: Settings, pulls: PullLog, scope: Scope, stack: AsyncExitStack) -> None:
    """While the scope lasts. Raises SettingsError where it cannot be done."""
    if settings.pulls.events_pod:
        await _as_events(settings, pulls, scope, stack)
    if settings.pulls.traces:
        _as_spans(settings, pulls, stack)


async def _as_events(settings: Settings, pulls: PullLog, scope: Scope, stack: AsyncExitStack) -> None:
    # Here, because most agents write none.
    from registryd.agent.pull_events import PullEvents  # noqa: PLC0415
    from registryd.cluster.kubernetes import NotInCluster, Pod, open_pod_events  # noqa: PLC0415

    try:
        pod = Pod.parse(settings.pulls.events_pod)
        events = await stack.enter_async_context(open_pod_events(pod, settings.agent.node_name))
    except (ValueError, NotInCluster) as error:
        raise SettingsError("pulls.events_pod", str(error)) from error
    told = PullEvents(events)
    pulls.listen(told.pulled)
    scope.serve(told.run, name="events of pulls")


def _as_spans(settings: Settings, pulls: PullLog, stack: AsyncExitStack) -> None:
    try:
        from registryd.agent.pull_spans import PullSpans  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError("pulls.traces", f"needs registryd[otel]: {error}") from error
    spans = PullSpans(settings.agent.node_name)
    pulls.listen(spans.pulled)
    # Telling may wait for a collector, and must not hold up the event loop.
    stack.push_async_callback(asyncio.to_thread, spans.close)
