"""HTTP in: the local registry API, the peers' bytes, probes and metrics. aiohttp's server is used only here.

Parses once, asks the lookup, writes heads and errors; moving the bytes is `registryd.transfer`'s business.
"""
