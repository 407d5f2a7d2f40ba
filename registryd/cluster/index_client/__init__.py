"""This node's questions and announcements to the index nodes of its cluster."""
