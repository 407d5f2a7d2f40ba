"""`registryd install` and `registryd uninstall`."""

import asyncio
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from registryd.commands.findings import print_findings
from registryd.commands.install_report import agents_settings, report_install, report_uninstall
from registryd.commands.mirror_flags import endpoint_from, node_socket, registries_of, require_ours_or_free, root_from
from registryd.commands.node_token_file import node_token
from registryd.commands.release import let_go
from registryd.commands.settings_flags import takes_settings
from registryd.config.agent import Settings, SettingsError
from registryd.doctor.finding import Severity
from registryd.failures import CommandFailed
from registryd.identity.errors import SecretInvalid
from registryd.identity.node_token import TOKEN_HEADER
from registryd.node.errors import NodeError, OfAnother
from registryd.node.facts import Containerd
from registryd.node.host_root import HostRoot
from registryd.node.hosts_entry import MirrorEntry
from registryd.node.intent import Intent
from registryd.node.next_endpoints import next_entries
from registryd.node.preview import diff_of
from registryd.node.record_store import STATE
from registryd.node.release import Release
from registryd.node.setup import NodeSetup

# What Kubernetes and Helm allow; empty: nobody's.
_OWNER = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?")
_SWITCH = Parameter(negative=(), show_default=False)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """Where the node's files are, and its containerd. The command finds every value that is not given."""

    root: Path = Path("/")
    """Folder where the node's file system is mounted, as in an init container. Other paths are paths of the node."""

    state: Path = STATE
    """Folder for the record of the files' earlier content."""

    owner: str = ""
    """Release of the chart, NAMESPACE/NAME, for which the node is set up. Another release's set-up is left as it is."""

    containerd_config: Path | None = None
    """containerd's main configuration file."""

    containerd_program: Path | None = None
    """containerd's program. The command runs it to learn its version, and whether it accepts the configuration."""

    containerd_version: str | None = None
    """containerd's version, where the program cannot be run."""

    restart_containerd: Annotated[bool, _SWITCH] = False
    """Restart containerd if a restart is needed. Without this flag the command never restarts containerd."""

    restart_command: str | None = None
    """Command that restarts containerd. The default is systemctl restart containerd, or the distribution's command."""

    dry_run: Annotated[bool, _SWITCH] = False
    """Print the changes, and change nothing."""

    def setup(self, settings: Settings) -> NodeSetup:
        """Raises CommandFailed or NodeError."""
        release = Release.parse(self.containerd_version) if self.containerd_version else None
        if release is not None and not release.is_known:
            raise SettingsError(
                "--containerd-version", f"expected a version such as 1.7.24; got {self.containerd_version!r}"
            )
        config, program = map(_absolute, (self.containerd_config, self.containerd_program))
        root = root_from(self.root)
        socket = node_socket(settings.store.containerd_socket, root)
        containerd = Containerd(config, program, release, socket)
        if not _OWNER.fullmatch(self.owner):
            raise SettingsError(
                "--owner", f"expected NAMESPACE/NAME, such as kube-system/registryd; got {self.owner!r}"
            )
        setup = NodeSetup(root, self.state.absolute(), containerd, owner=self.owner)
        return replace(setup, containerd=replace(containerd, restart=self._restart(setup)))

    def _restart(self, setup: NodeSetup) -> tuple[str, ...]:
        if self.restart_command:
            return tuple(shlex.split(self.restart_command))
        if not self.restart_containerd:
            return ()
        distribution = setup.facts.distribution
        if not distribution.restart:
            how = distribution.how_to_restart
            raise CommandFailed(
                f"{distribution.name} has no one command to restart containerd ({how}): give --restart-command"
            )
        return distribution.restart


@dataclass(frozen=True, kw_only=True)
class MirrorOptions:
    """The registries for which containerd asks registryd."""

    registries: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=True, show_default=False)] = ()
    """Registries to mirror, such as docker.io ghcr.io. The default is all registries."""

    resolve: bool = True
    """Whether containerd may ask the agent which image a tag means. containerd may always ask for content by digest."""

    endpoint: str | None = None
    """URL at which containerd reaches the agent. The default is http:// and registry.listen."""

    token_file: Path | None = None
    """File with the token that containerd shows. A missing file is created. The default is registry.token_file."""

    config_path: Path | None = None
    """Folder for the hosts.toml files. The default is the folder in which containerd looks for them."""


@takes_settings("registry", "store", "admin")
def install(
    settings: Settings,
    mirror: Annotated[MirrorOptions, Parameter(name="*")] = MirrorOptions(),
    node: Annotated[NodeOptions, Parameter(name="*")] = NodeOptions(),
    *,
    verify: Annotated[bool, _SWITCH] = False,
    take_over: Annotated[bool, _SWITCH] = False,
) -> int:
    """Make this node's containerd ask registryd first. After registryd, containerd asks the same hosts as before.

    Args:
        settings: The agent's settings.
        mirror: What containerd asks registryd for.
        node: Where the node's files are.
        verify: Afterwards pull a tiny image through containerd and the agent. If that fails, the exit code is 1.
        take_over: Make the set-up of another --owner, whose agents are gone, the set-up of this one.
    """
    with _failures():
        setup = replace(node.setup(settings), takes_over=take_over)
        intent = _intent(settings, mirror, setup.root)
        require_ours_or_free(intent.entry.url)
        outcome = setup.preview_install(intent) if node.dry_run else setup.install(intent)
    if node.dry_run:
        _print(diff_of(outcome.plan).splitlines())
    _print(report_install(outcome, is_done=not node.dry_run, has_token=any(entry.headers for entry in intent.entries)))
    token_file = intent.token.path if intent.token else None
    _print(agents_settings(outcome, settings, token_file=token_file, endpoint=mirror.endpoint))
    if verify and not node.dry_run:
        return asyncio.run(_verify(settings, setup, intent.entry.url))
    return 0


async def _verify(settings: Settings, setup: NodeSetup, endpoint: str) -> int:
    # Here, because most installs need no doctor.
    from registryd.doctor.patient import ExaminationScope, look_at  # noqa: PLC0415
    from registryd.doctor.trial import check_pull, why_not_tried  # noqa: PLC0415

    place = ExaminationScope(root=setup.root, endpoint=endpoint, state=setup.state, socket=setup.facts.socket)
    patient = await look_at(settings, place)
    findings = await check_pull(patient) or [why_not_tried(patient)]
    print_findings(findings, with_summary=False)
    return int(any(finding.severity is not Severity.OK for finding in findings))


@takes_settings("store")
def uninstall(settings: Settings, node: Annotated[NodeOptions, Parameter(name="*")] = NodeOptions()) -> None:
    """Undo all changes of `registryd install`, and free the layers and pins that agents keep in containerd."""
    with _failures():
        setup = node.setup(settings)
        socket = setup.root.locate(setup.facts.socket)
        try:
            outcome = setup.preview_uninstall() if node.dry_run else setup.uninstall()
        except OfAnother as left:
            # Nothing of this release is here, so its removal is done.
            _print([f"Nothing to undo: {left}."])
            return
    if node.dry_run and outcome:
        _print(diff_of(outcome.plan).splitlines())
    _print(report_uninstall(outcome, is_done=not node.dry_run))
    if not node.dry_run:
        _print(let_go(socket, settings.store.namespaces))


def _intent(settings: Settings, mirror: MirrorOptions, root: HostRoot) -> Intent:
    file = _absolute(mirror.token_file or settings.registry.token_file)
    token, token_file = node_token(root, file) if file else (None, None)
    headers = ((TOKEN_HEADER, token),) if token else ()
    entry = MirrorEntry(endpoint_from(mirror.endpoint, settings.registry.listen), mirror.resolve, headers)
    return Intent(
        entry,
        next_entries(settings.registry, root, can_resolve=mirror.resolve),
        registries_of(mirror.registries),
        token_file,
        _absolute(mirror.config_path),
        (os.geteuid(), os.getegid()),
    )


def _absolute(path: Path | None) -> Path | None:
    return path.absolute() if path else None


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (NodeError, SecretInvalid) as error:
        raise CommandFailed(str(error)) from error


def _print(lines: Sequence[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
