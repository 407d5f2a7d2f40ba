"""The health of nodes, and whether nodes reach each other, for `doctor` and `status`. No pull depends on it.

The package has a gRPC service of its own at the peers' port, its answers, and the examination of all members. The
package `doctor` explains the findings to operators.
"""
