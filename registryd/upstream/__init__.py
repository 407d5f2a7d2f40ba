"""Upstream registries as their client: challenges, tokens, TLS, proxies, redirects, and where a request may lead.

The only user of aiohttp's client. Speaks the pull side of the distribution API; does not know who asks, what is kept
on this node, or hosts.toml: it is told which endpoints a registry has.
"""
