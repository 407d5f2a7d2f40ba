"""Who fetches, who has, and who gets it from whom: what a digest's index nodes keep in memory, and how they are chosen.

Soft state only: an index node that is lost costs some fetches from the origin and nothing else. No gRPC here, and no
asking: a node that is asked answers from what it was told.
"""
