"""The members of the cluster, and the name of this node among them."""
