"""All I/O of the operator: the Kubernetes API, the coordinators' HTTP channel, the Lease.

It moves documents and knows neither what they mean nor what should happen next (`reconcile`).
"""
