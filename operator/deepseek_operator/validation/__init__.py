"""What the API server's schema cannot see: whether a resource is possible, before any pod exists.

(spec, what it refers to) -> a run config, or problems, each with field, value, rule and remedy.
It does not know conditions (`status`).
"""
