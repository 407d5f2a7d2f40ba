"""Where the addresses of the peers come from. Each module is one way; whether a peer is well is not asked here."""
