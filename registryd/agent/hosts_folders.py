"""Where this node's containerd looks for hosts.toml files, for an agent that asks upstreams as containerd asks them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registryd.agent.node_store import recorded_socket
from registryd.config.agent import AuthorizationMode, StoreKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.config.agent import Settings

_log = logging.getLogger(__name__)

# The default: the path that containerd's packages and Kubernetes' documentation use.
_USUAL: Final = Path("/etc/containerd/certs.d")
# containerd says it within milliseconds, its program in a tenth of a second; it changes when containerd is restarted.
_GOOD_FOR_SECONDS: Final = 60.0


class HostsFolders:
    """Follows containerd's `config_path`, unless a setting says where to look. Looked for when it is needed first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: Sequence[Path] = ()
        self._good_until = 0.0
        self._looking = asyncio.Lock()

    @property
    def are_needed(self) -> bool:
        """Whether this node asks the upstream of some registry whether anyone may pull."""
        authorization = self._settings.authorization
        return AuthorizationMode.PUBLIC in {authorization.mode, *authorization.registries.values()}

    async def get(self) -> Sequence[Path]:
        """The folders, in the order in which they are searched."""
        if named := self._settings.authorization.hosts_dir:
            return (named,)
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if now >= self._good_until:
                self._found = await asyncio.to_thread(self._find)
                self._good_until = now + _GOOD_FOR_SECONDS
            return self._found

    def _find(self) -> Sequence[Path]:
        store = self._settings.store
        if store.kind is StoreKind.DIRECTORY:
            return (_USUAL,)
        # Here, because most agents never ask an upstream.
        from registryd.node.errors import NodeError  # noqa: PLC0415
        from registryd.node.facts import Containerd, find_facts  # noqa: PLC0415
        from registryd.node.host_root import HostRoot  # noqa: PLC0415
        from registryd.node.judging import roots_in_use  # noqa: PLC0415
        from registryd.node.tree import NodeTree  # noqa: PLC0415

        root = HostRoot()
        try:
            hints = Containerd(socket=store.containerd_socket)
            facts = find_facts(root, hints, recorded=recorded_socket(self._settings))
            return roots_in_use(root, NodeTree(root), facts) or (_USUAL,)
        except NodeError as error:
            _log.warning("hosts.toml files are looked for in %s, because %s", _USUAL, error)
            return (_USUAL,)
