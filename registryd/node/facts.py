"""A node's distribution and its running containerd: as containerd answers, or by its files where none answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registryd.content.source import StoreUnavailable
from registryd.node.config_files import address_in
from registryd.node.distribution import PLAIN, find_distribution
from registryd.node.errors import ConfigConflict
from registryd.node.host_commands import PATIENCE, HostCommands
from registryd.node.process import find_process, sees_other_files
from registryd.node.program import ContainerdProgram, program_of
from registryd.node.release import Release
from registryd.node.tree import NodeTree
from registryd.store.socket import KNOWN_SOCKETS, is_containerd_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registryd.node.distribution import Distribution
    from registryd.node.host_root import HostRoot
    from registryd.node.process import Process
    from registryd.store.containerd.introspection import Introspection

    Ask = Callable[[Path, float], Introspection | None]
    """What the containerd behind a socket, given as a path of this process, says of itself; None: no answer.

    The second is for how many seconds to wait for one that does not answer yet.
    """


@dataclass(frozen=True, slots=True)
class Containerd:
    """The parts of the node's containerd that are elsewhere than registryd finds them; None: where it finds them.

    Args:
        config: Its main configuration file.
        program: Its program, which is asked for its version and what it makes of its configuration.
        release: Its version; None: it is asked.
        socket: Where it answers.
        restart: The command that restarts it when that is needed; empty: nobody does.
    """

    config: Path | None = None
    program: Path | None = None
    release: Release | None = None
    socket: Path | None = None
    restart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The facts found on a node.

    Args:
        config: containerd's main file: the one that the running one was started with.
        socket: Where it answers, or would.
        process: The one that runs; None: it cannot be seen from here, or none does.
        told: What that one says of itself; None: it does not answer.
    """

    distribution: Distribution
    release: Release
    config: Path
    program: ContainerdProgram
    socket: Path = PLAIN.socket
    process: Process | None = None
    told: Introspection | None = None

    @property
    def default_paths(self) -> str:
        """The `config_path` when no file sets it."""
        return self.release.default_config_paths

    @property
    def has_no_cri(self) -> bool:
        """Whether it answers without CRI, whose setting config_path is: Docker's own, as a rule."""
        return self.told is not None and not self.told.has_cri

    @property
    def is_running(self) -> bool:
        """Whether a containerd runs, as far as can be seen."""
        return self.told is not None or self.process is not None


def require_same_files(root: HostRoot, facts: NodeFacts) -> None:
    """Raises ConfigConflict when the containerd that runs does not see the files that are read and written here."""
    told = facts.told.config_path if facts.told else None
    paths = (facts.config, *(Path(part) for part in (told or "").split(":") if part))
    process = facts.process
    if process and sees_other_files(root, process, paths):
        raise ConfigConflict(
            f"the containerd at {facts.socket} (process {process.pid}) runs in a mount namespace of its own, as in a "
            f"container, and reads other files than these: name the ones that it sees, by --root {process.files}"
        )


def ask_containerd(socket: Path, patience: float = 0) -> Introspection | None:
    """An Ask, over containerd's API."""
    # Here, because a node without containerd need not wait for gRPC.
    from registryd.store.containerd.introspection import introspect  # noqa: PLC0415

    try:
        return introspect(socket, patience=patience)
    except StoreUnavailable:
        return None


def find_facts(
    root: HostRoot,
    hints: Containerd,
    ask: Ask = ask_containerd,
    *,
    recorded: Path | None = None,
    patience: float = PATIENCE,
) -> NodeFacts:
    """Look at the node, asking its programs for so many seconds at most.

    `recorded` is the socket of the containerd that was set up before.

    Raises ConfigConflict when it has two containerds, or hints are wrong.
    """
    tree = NodeTree(root)
    found = _choose([_look_at(root, tree, socket, ask) for socket in _sockets(root, tree, hints, recorded)], recorded)
    config = _config(tree, found.process, hints)
    distribution = find_distribution(tree, config)
    candidates = [hints.program] if hints.program else distribution.programs
    release = Release.parse(found.told.version) if found.told else Release()
    program = program_of(HostCommands(root, patience), found.process, candidates, release)
    release = hints.release or (release if release.is_known else program.release())
    socket = found.socket or hints.socket or distribution.socket
    return NodeFacts(distribution, release, config or distribution.config, program, socket, found.process, found.told)


@dataclass(frozen=True, slots=True)
class _Found:
    """A socket and the process behind it. Both are empty when there is no containerd."""

    socket: Path | None = None
    told: Introspection | None = None
    process: Process | None = None


def _sockets(root: HostRoot, tree: NodeTree, hints: Containerd, recorded: Path | None) -> Iterator[Path]:
    if hints.socket:
        yield hints.socket
    elif hints.config:
        yield address_in(tree, hints.config)
    else:
        # A link from one known place to another, as people make for crictl, is not a second containerd.
        names: dict[Path, Path] = {}
        for socket in (recorded, *KNOWN_SOCKETS) if recorded else KNOWN_SOCKETS:
            names.setdefault(root.locate(socket), socket)
        yield from (socket for here, socket in names.items() if is_containerd_at(here))


def _look_at(root: HostRoot, tree: NodeTree, socket: Path, ask: Ask) -> _Found:
    here = root.locate(socket)
    if not is_containerd_at(here):
        return _Found()
    told, process = ask(here, 0), find_process(root, tree, socket)
    return _Found(socket, told, process) if told or process else _Found()


def _choose(found: list[_Found], recorded: Path | None) -> _Found:
    """The containerd that a kubelet can use: that of Docker has no CRI. A recorded one counts while it answers."""
    there = [each for each in found if each.socket]
    if recorded and (known := next((each for each in there if each.socket == recorded), None)):
        return known
    usable = [each for each in there if each.told and each.told.has_cri]
    if len(usable) > 1:
        names = " and ".join(str(each.socket) for each in usable)
        raise ConfigConflict(
            f"{len(usable)} containerds answer on this node, at {names}: --store.containerd_socket says which one the "
            "kubelet uses"
        )
    return next(iter([*usable, *(each for each in there if each.told), *there]), _Found())


def _config(tree: NodeTree, process: Process | None, hints: Containerd) -> Path | None:
    if process is None:
        return hints.config
    if hints.config and tree.canonical(hints.config) != tree.canonical(process.config):
        raise ConfigConflict(
            f"the containerd that runs (process {process.pid}) was started with {process.config} and does not read "
            f"{hints.config}: leave --containerd-config out, or start it with that file"
        )
    return process.config
