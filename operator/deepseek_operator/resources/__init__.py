"""Pure builders of the objects that the operator owns: no I/O, clock, random or environment.

It does not know when an object is wanted (`reconcile`).
"""
