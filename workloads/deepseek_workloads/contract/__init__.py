"""What crosses a process boundary: run configs, messages, records in the object store, names and exit codes.

Imports pydantic only, so that the operator can use it. It does not know who sends what when.
"""
