"""containerd's content and image names, over its gRPC API and, where they can be read, from its files.

There is one file for each concern: the connection; whether a digest is in a shared namespace (presence); the two ways
to its bytes (files, streams), and which one works (route); arriving content (ingests); media types from manifests
(documents, reading); names of images (images); keeping up with containerd (following); and the store that puts these
together.

The package knows the API of containerd 1.6 to 2.x as one API. It never changes containerd's content, except when it
writes content on demand. It does not know why a client wants content, nor which client asks.
"""
