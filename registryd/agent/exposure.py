"""Whether a cache may be reached by whoever can, given what its logins open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.settings import AuthorizationMode, SettingsError

if TYPE_CHECKING:
    from registryd.settings import Settings


def check_exposure(settings: Settings) -> None:
    """Refuse to give what our logins open to whoever reaches us; raises SettingsError."""
    cache, upstreams, authorization = settings.cache, settings.upstreams, settings.authorization
    if cache.insecure or cache.token_file or cache.listen.is_loopback:
        return
    with_login = [name for name, table in upstreams.registries.items() if table.username or table.client_cert]
    for name in with_login if upstreams.docker_config is None else [*with_login, *upstreams.allow]:
        if authorization.registries.get(name, authorization.mode) is not AuthorizationMode.PUBLIC:
            raise SettingsError(
                "cache.listen",
                f"{cache.listen} is open to the network, where anyone could pull from {name} by this cache's login; "
                "set cache.token_file, or authorization.mode = public, or listen on 127.0.0.1; "
                "cache.insecure = true lets anyone in",
            )
