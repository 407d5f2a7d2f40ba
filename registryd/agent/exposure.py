"""Whether a cache may be open to clients without a token, given its logins, and to peers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from registryd.config.agent import AuthorizationMode, SettingsError, check_member
from registryd.content.naming_rules import NamingRules
from registryd.oci.reference import Registry

if TYPE_CHECKING:
    from registryd.config.agent import Settings


def check_exposure(settings: Settings) -> None:
    """Refuse settings that give every client the content of the cache's logins; raises SettingsError."""
    if settings.cache.member:
        check_member(settings)
    cache, upstreams, authorization = settings.cache, settings.upstreams, settings.authorization
    rules = NamingRules(authorization)
    if cache.insecure or cache.token_file or cache.listen.is_loopback:
        return
    with_login = [name for name, table in upstreams.registries.items() if table.username or table.client_cert]
    # The content of Docker's file may change, so any registry may have a login there.
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
    """The cache as peers and operators see it: the cache's door is in the place of an agent's local registry."""
    cache = settings.cache
    return replace(settings, registry=replace(settings.registry, listen=cache.listen, token_file=cache.token_file))
