"""Who is a member of the cluster, and who may use this node's own door.

The cluster secret and the authority derived from it, this node's short-lived certificate or the operator's own,
what gRPC and TLS listeners and clients are made of, tickets for bytes without TLS, and the node's token. Knows
neither what is asked for nor who asks it of whom; it opens no connection by itself.
"""
