"""Continuous batching: sequences join and leave the running batch between steps. Token ids and text only; no
HTTP, no templates.
"""
