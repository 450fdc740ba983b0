"""Users' own training code: `training.entrypoint: module:function` of their image, in place of our loop.

The function gets a `RunContext`; one that makes a model alone (`model.function`) a `ModelConfig`.
docs/custom-training.md is their manual.
"""

from deepseek_workloads.train.custom.context import RunContext, StepContext
from deepseek_workloads.train.registered import ModelConfig

__all__ = ["ModelConfig", "RunContext", "StepContext"]
