"""Bodies from other agents by HTTP/1.1: requests, connections, and the pool of idle connections."""
