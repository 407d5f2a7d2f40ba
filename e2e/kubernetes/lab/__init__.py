"""A real Kubernetes on this machine: its programs are built once; each node is a set of namespaces of its own.

Nothing here knows of registryd: what is installed and proved with the cluster is the tests' business.
"""
