"""The OCI image and distribution specifications as values: digests, names, descriptors, manifests, ranges, errors.

Pure grammar: everything here is parsed once at the edge, validated when made and frozen. No I/O, no asyncio,
nothing that knows where content is kept or how it travels.
"""
