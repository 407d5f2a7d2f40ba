"""A node's set-up: what has to stand in containerd's files so that it asks registryd first, and off again.

Read the node (`tree`, `host_root`, `containerd_config`, `registry_directory`), plan (`planning`: pure, from values to a
list of changes), apply (`applying`: each file atomically, the record of what was there first), undo (`record`).
`setup` puts these together; `talos` prints documents instead, for nodes whose files nobody writes.

No network, no gRPC, no printing. Facts about containerd's configuration stand beside the code that relies on them.
"""
