"""What "having content" means: the contracts that stores and the cluster fulfil, and the order they are asked in.

Values and Protocols, and the lookup over them. No transport, no files, no containerd: those are one package up.
"""
