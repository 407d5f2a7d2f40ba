"""Content in a directory: an OCI image layout that other tools can read, and may have made.

From below: `folders` (opening without following links), `durable` (locks and atomic replacement), `layout` (where
things are), `media_types` and `catalog` (what manifests and index.json say), `partials` (what broke off), `ingest` and
`session` (content on its way in), `store` (the contracts of `registryd.content` over all of it). Limits: `usage`,
`eviction`, `space`, `bounded`. Beside them `note` and `fsck`. Knows nothing of archives and peers.
"""
