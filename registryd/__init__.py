"""registryd: what one containerd node has, every node can pull."""
