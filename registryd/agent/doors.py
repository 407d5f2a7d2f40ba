"""Opening the doors that settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.agent.descriptors import share_of
from registryd.config.agent import SettingsError
from registryd.oci.reference import Registry
from registryd.serving.connections import ConnectionLimits
from registryd.serving.listener import ListenFailed, open_door

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from ssl import SSLContext

    from registryd.config.agent import RegistrySettings
    from registryd.notation import Address
    from registryd.serving.listener import Door, Handler


class Doors:
    """Open until the stack is unwound."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack

    async def open(  # noqa: PLR0913 - what a door is, all named
        self,
        key: str,
        address: Address,
        handle: Handler,
        *,
        context: SSLContext | None = None,
        limits: ConnectionLimits | None = None,
        bodies_at: frozenset[str] = frozenset(),
    ) -> Door:
        """Open one; raises SettingsError with the key when that address cannot be listened on."""
        limits = (limits or ConnectionLimits()).within(share_of(key))
        try:
            door = open_door(handle, address, ssl=context, limits=limits, bodies_at=bodies_at)
            return await self.stack.enter_async_context(door)
        except ListenFailed as error:
            raise SettingsError(key, str(error)) from error


def default_registry(settings: RegistrySettings) -> Registry | None:
    """Which registry clients mean that name none."""
    return Registry(settings.default) if settings.default else None
