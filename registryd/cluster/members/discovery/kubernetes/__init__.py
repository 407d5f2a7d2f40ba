"""Peers from Kubernetes: the endpoints of our own headless service, listed and then watched.

A client for this one resource and these two verbs. Whether a peer is well is not asked here, and nothing is written.
"""
