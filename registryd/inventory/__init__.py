"""Lists of images, and whether an endpoint has all that they name; what a cluster without a way out is filled from.

A client of registries like any other. Does not know whether the endpoint is a cache, an agent or a registry.
"""
