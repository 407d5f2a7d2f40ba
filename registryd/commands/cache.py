"""`registryd cache`, and `registryd cache fsck`."""

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from registryd.commands.afresh import run_afresh
from registryd.commands.settings_flags import takes_settings
from registryd.config.agent import Settings
from registryd.content.source import ContentUnavailable
from registryd.failures import CommandFailed
from registryd.store.directory.fsck import check_layout, repair_layout
from registryd.store.directory.layout import Layout

_MIB = 1024 * 1024


@takes_settings(
    "cache", "upstreams", "registry.default", "authorization", "store", "peers", "discovery", "admin", "log", "agent"
)
def run_cache(
    settings: Settings,
    action: Annotated[
        Literal["fsck"] | None, Parameter(help="fsck: hash all stored content and print what is damaged.")
    ] = None,
    /,
    *,
    repair: Annotated[
        bool, Parameter(help="fsck: remove damaged content; the cache fetches it again.", negative=())
    ] = False,
) -> int:
    """Run until SIGTERM or SIGINT; raises `CommandFailed` if the cache cannot start. fsck: 1 for a damaged store."""
    if action == "fsck":
        return check_store(settings, repair=repair)
    if repair:
        raise CommandFailed("--repair is for `registryd cache fsck`")
    return run_afresh("registryd.agent.cache:open_cache", settings)


def check_store(settings: Settings, *, repair: bool) -> int:
    """Print what is wrong with the store, and put it right if `repair`; returns the exit code."""
    layout = Layout(settings.store.directory)
    try:
        report = check_layout(layout)
        if repair and report.findings:
            repair_layout(layout, report)
    except (ContentUnavailable, OSError) as error:
        raise CommandFailed(str(error)) from error
    sys.stdout.writelines(f"{finding.problem}\n" for finding in report.findings)
    outcome = f"{len(report.findings)} wrong" if report.findings else "all sound"
    removed = ", removed" if repair and report.findings else ""
    if report.partial:
        sys.stdout.write(
            f"{report.partial / _MIB:.1f} MiB of interrupted downloads, which continue when they are asked for\n"
        )
    sys.stdout.write(
        f"{report.blobs} pieces of content, {report.size / _MIB:.1f} MiB, {report.names} names: {outcome}{removed}\n"
    )
    return 1 if report.findings and not repair else 0
