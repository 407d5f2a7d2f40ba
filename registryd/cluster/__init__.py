"""The other nodes: which nodes there are (discovery, members), what each has (find), and reading content from them.

registryd's own gRPC lives here, client and server. The package asks this node's store only through the contracts of
`registryd.content`, and never asks a peer on behalf of another peer.
"""
