"""The meaning of "having content": the contracts of stores and of the cluster, and the order of sources in a lookup.

This package has values and Protocols, and the lookup over them. It has no transport, no files and no containerd: those
are one package up.
"""
