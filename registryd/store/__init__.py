"""This node's content: containerd's store over its API, or a directory in the OCI image layout.

Each implements the contracts of `registryd.content`; one contract test suite runs on both. The only user of
containerd's gRPC stubs. Knows nothing of peers and of HTTP.
"""
