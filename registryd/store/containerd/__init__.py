"""containerd's content and image names, over its gRPC API and, where they can be read, from its files.

One file per concern: the connection; whether a digest is in a shared namespace (presence); the two ways to its bytes
(files, streams) and which one goes (route); what is still coming in (ingests); what manifests say of media types
(documents, reading); what images are called (images); keeping up with containerd (following); and the store that puts
these together.

Knows the API of containerd 1.6 to 2.x as one. Never changes what containerd has, except when something is written
into it on demand. Does not know why content is wanted, nor who asks.
"""
