"""Which nodes are members of the cluster, and which clients may use this node's own door.

The package has the cluster secret and the authority derived from it, this node's short-lived certificate or the
operator's own, the credentials of gRPC and TLS listeners and clients, tickets for bytes without TLS, and the node's
token. It does not know what a request asks, or between which nodes. It opens no connection by itself.
"""
