"""The other nodes: who is there (discovery, members), who has what (find), and reading it from them.

registryd's own gRPC lives here, client and server. Asks this node's store only through the contracts of
`registryd.content`, and never on behalf of a peer asks another peer.
"""
