"""Answers requests with an exported model: `engine` decodes them together, `api` is what clients see, `check`
decides whether a revision may be served. It does not know Ray: `launch.ray_serve` runs it on pods.
"""
