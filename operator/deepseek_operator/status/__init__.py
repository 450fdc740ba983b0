"""From what was observed to what a user reads: conditions, STATE, progress, Events. Pure functions.

It does not know how things are observed (`cluster`) or changed (`reconcile`).
"""
