"""A node's set-up: the changes of containerd's files by which containerd asks registryd first, and their removal.

Read the node (`tree`, `host_root`, `containerd_config`, `registry_directory`), plan (`planning`: pure, from values to a
list of changes), apply (`applying`: each file atomically, the record of what was there first), undo (`record`).
`setup` puts these together; `talos` prints documents instead, for nodes whose files cannot be written.

The package has no network, no gRPC and no printing. Facts about containerd's configuration stand beside the code that
relies on them.
"""
