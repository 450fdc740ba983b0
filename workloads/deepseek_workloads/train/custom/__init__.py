"""Users' own training code: `training.entrypoint: module:function` of their image, in place of our loop.

The function gets a `RunContext`; docs/custom-training.md is its manual.
"""

from deepseek_workloads.train.custom.context import RunContext, StepContext

__all__ = ["RunContext", "StepContext"]
