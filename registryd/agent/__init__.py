"""The composition root of `registryd agent`: the only place that builds the parts and connects them.

Knows every part by its contract and none by its inside; what happens on a request is not here.
"""
