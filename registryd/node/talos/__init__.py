"""Talos: its files are its own, so the node is set up by documents of its machine configuration.

Facts: the machine configuration's reference (v1alpha1 `machine.registries`; `RegistryMirrorConfig` since 1.12), and how
Talos makes hosts.toml files of it (`internal/pkg/containers/cri/containerd/hosts.go`).
"""
