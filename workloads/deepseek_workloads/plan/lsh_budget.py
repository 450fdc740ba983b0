"""How many keys a query of LSH attention sees; the model and the plan go by the same number."""

from math import ceil

from deepseek_workloads.contract.architecture import Attention


def lsh_budget(attention: Attention, length: int) -> int:
    """In one round of hashing: twice the even share of a bucket, and itself."""
    return min(length, ceil(2 * length / attention.num_buckets)) + 1
