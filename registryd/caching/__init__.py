"""A pull-through: what an upstream gives is sent on and stored while it arrives.

Between a store and upstreams: which registries may be asked, who may have what, what a tag means now, one fetch for
all who want the same, and bodies that follow it. Does not know how content is stored, how upstreams are spoken to, or
how the parts are put together.
"""
