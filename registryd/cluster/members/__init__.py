"""Who the members of the cluster are, and how this node is called among them."""
