"""One function a kind: observe what is there, decide, apply the difference, write status once.

Nothing here remembers what happened: killing the process between any two calls loses nothing.
"""
