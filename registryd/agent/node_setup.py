"""The single flag: an agent that puts itself into its node's containerd configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.failures import CommandFailed, SettingsError
from registryd.identity.errors import IdentityError
from registryd.identity.node_token import TOKEN_HEADER, ensure_token, read_token

if TYPE_CHECKING:
    from registryd.notation import Address
    from registryd.settings import RegistrySettings


def prepare_token(settings: RegistrySettings) -> None:
    """Make the node's token if there is to be one. Raises SettingsError."""
    if settings.token_file:
        try:
            ensure_token(settings.token_file)
        except IdentityError as error:
            raise SettingsError("registry.token_file", str(error)) from error


async def set_up_node(settings: RegistrySettings, listen: Address) -> None:
    """Make containerd ask the open door. Raises CommandFailed; the node is then as it was."""
    from registryd.node.errors import NodeError  # noqa: PLC0415 - only who asks for it pays for it
    from registryd.node.own_node import configure_containerd  # noqa: PLC0415

    headers = ((TOKEN_HEADER, read_token(settings.token_file)),) if settings.token_file else ()
    try:
        await configure_containerd(settings, listen, headers=headers)
    except (NodeError, IdentityError) as error:
        raise CommandFailed(f"agent.configure_containerd: {error}") from error
