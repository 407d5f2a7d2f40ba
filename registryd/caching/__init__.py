"""A pull-through cache: it sends on and stores an upstream's content while the content arrives.

The package stands between a store and upstreams. It decides which registries the cache may ask, which client may have
which content, and what a tag means now. It has one fetch for all clients that want the same content, and bodies that
follow the fetch. It does not know how content is stored, which protocol upstreams speak, or how the parts are put
together.
"""
