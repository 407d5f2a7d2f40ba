"""The memory of a digest's index nodes: which node fetches, which have it, and which gets it from which.

The package also says how index nodes are chosen. Its state is soft: a lost index node costs some fetches from the
origin and nothing else. The package has no gRPC and asks no node: an index node answers from what it was told.
"""
