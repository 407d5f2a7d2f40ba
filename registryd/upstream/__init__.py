"""Upstream registries as their client: challenges, tokens, TLS, proxies, redirects, and where a request may lead.

Only this package uses aiohttp's client. It speaks the pull side of the distribution API. It does not know which client
asks, which content this node keeps, or hosts.toml: its caller tells it which endpoints a registry has.
"""
