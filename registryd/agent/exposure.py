"""Whether a cache may be reached by whoever can: by clients, given what its logins open, and by peers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from registryd.config.agent import AuthorizationMode, SettingsError, check_member
from registryd.content.naming_rules import NamingRules
from registryd.oci.reference import Registry

if TYPE_CHECKING:
    from registryd.config.agent import Settings


def check_exposure(settings: Settings) -> None:
    """Refuse to give what our logins open to whoever reaches us; raises SettingsError."""
    if settings.cache.member:
        check_member(settings)
    cache, upstreams, authorization = settings.cache, settings.upstreams, settings.authorization
    rules = NamingRules(authorization)
    if cache.insecure or cache.token_file or cache.listen.is_loopback:
        return
    with_login = [name for name, table in upstreams.registries.items() if table.username or table.client_cert]
    # What stands in Docker's file may change, so any registry may have a login there.
    for name in with_login if upstreams.docker_config is None else [*upstreams.registries, *upstreams.allow]:
        mode = authorization.mode if name == "*" else rules.mode(Registry(name))
        if mode is not AuthorizationMode.PUBLIC:
            raise SettingsError(
                "cache.listen",
                f"{cache.listen} is open to the network, where anyone could pull from {name} by this cache's login; "
                "set cache.token_file, or authorization.mode = public, or listen on 127.0.0.1; "
                "cache.insecure = true lets anyone in",
            )


def as_member(settings: Settings) -> Settings:
    """What peers and people are told of a cache: its door is where an agent has its local registry."""
    cache = settings.cache
    return replace(settings, registry=replace(settings.registry, listen=cache.listen, token_file=cache.token_file))
