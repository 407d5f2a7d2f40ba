"""What this node asks and tells the index nodes of its cluster."""
