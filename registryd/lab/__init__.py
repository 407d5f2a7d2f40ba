"""Real containerds, registries and network namespaces on one machine, for `registryd demo`, the end-to-end tests
and the benchmarks. Nothing here runs on a node in service."""
