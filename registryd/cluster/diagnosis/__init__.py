"""How nodes are, and whether they reach each other: what `doctor` and `status` show. No pull depends on it.

A gRPC service of its own at the peers' port, its answers, and the examination of all members. What the findings mean
for people is said elsewhere.
"""
