"""What runs inside the pods of a job: contract, plan, supervisors, the trainer, and its storage.

`contract` and `plan` import neither torch nor Ray: the operator uses them too.
"""
