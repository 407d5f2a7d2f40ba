"""Real containerds, registries and network namespaces on one machine.

For the demo, the end-to-end tests and the benchmarks; nothing here runs on a node in service.
From small to large: images (`layout`, `layers`, `images`, `artifacts`), hosts (`namespaces`, `network`), programs
(`process`, `containerd`, `origin`, `agent`), and all of them together (`cluster`). Everything that is started is an
async context manager; everything that exists outside this process carries a name of `leftovers`, so that a later
run can sweep what a killed one left behind. What the machine lacks is an `UnavailableError` with one reason.
"""
