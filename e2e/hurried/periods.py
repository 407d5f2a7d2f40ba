"""What is periodic in an agent, or kept for minutes to days: constants by module."""

from __future__ import annotations

from typing import Final

FACTOR: Final = 60

PERIODS: Final[dict[str, tuple[str, ...]]] = {
    # Connections between members, and certificates: an hour, five minutes, a day.
    "registryd.cluster.rpc.limits": (
        "CONNECTION_AGE_MILLISECONDS",
        "CONNECTION_GRACE_MILLISECONDS",
        "IDLE_MILLISECONDS",
        "LONGEST_BARRED_SECONDS",
        "BAR_FORGOTTEN_SECONDS",
    ),
    "registryd.identity.lifetime": ("LIFETIME", "RENEW_AFTER", "BACKDATED"),
    # What index nodes are told again every half hour, and forget after one.
    "registryd.cluster.index.desk": ("WAVE_SECONDS", "YOUNG_SECONDS"),
    "registryd.cluster.index.speakers": ("_NAME_HOLDS_SECONDS",),
    "registryd.cluster.index_client.companions": ("_LINE_SECONDS",),
    # What upstreams said: a day, a week.
    "registryd.upstream.word": ("_HOLDS", "_IS_RENEWED", "_IS_KEPT"),
    "registryd.upstream.postponed": ("_WAITS_SECONDS",),
    # What a node remembers of sources, content and pulls.
    "registryd.cluster.health.own_pace": ("_REMEMBERED_SECONDS",),
    "registryd.cluster.fetch.fallback": ("_DOUBT_SECONDS",),
    "registryd.transfer.monitoring.thresholds": ("BLAME_SECONDS",),
    "registryd.content.doubt": ("_LOOK_AGAIN_SECONDS",),
    "registryd.content.asker": ("_PARALLEL_SECONDS",),
    "registryd.agent.savings": ("_HOUR_SECONDS", "_LOOK_SECONDS"),
    "registryd.content.sharing": ("_SEEN_SECONDS",),
    "registryd.content.pull_log": ("_PATIENCE",),
    "registryd.store.containerd.askings": ("_PULL_SECONDS",),
    "registryd.store.containerd.keeping": ("_UNNAMED_SECONDS", "_EXPECT_SECONDS", "_IDLE_SECONDS"),
    # What is looked at now and then.
    "registryd.agent.node_setup": ("_LOOK_EVERY_SECONDS",),
    "registryd.agent.hosts_folders": ("_GOOD_FOR_SECONDS",),
    "registryd.cluster.copies.keeper": ("_LOOK_SECONDS", "_IDLE_SECONDS", "_REFUSED_SECONDS"),
    "registryd.observability.repeated_lines": ("_WINDOW_SECONDS",),
    "registryd.aio.scope": ("_IS_WELL_SECONDS",),
}
