"""What the operator wants of a running coordinator: pushed again until every rank has seen it.

The generation is the resource's own: it grows with each change of the spec, and an older push is ignored.
"""

from typing import Final

from deepseek_workloads.contract.messages import Control, Progress
from deepseek_workloads.contract.monitoring import Alerts
from deepseek_workloads.contract.retention import Retention

_FIRST_GENERATION: Final = 1  # of a resource that nobody has changed: it runs, as its coordinator does anyway


def wanted_control(
    *, generation: int, stop: bool, alerts: Alerts | None = None, retention: Retention | None = None
) -> Control:
    """`alerts` and `retention`: of a training job."""
    return Control(
        generation=generation,
        desired_state="Stopped" if stop else "Running",
        alerts=alerts,
        retention=retention,
    )


def must_push(control: Control, progress: Progress | None) -> bool:
    """A coordinator that cannot be reached now is tried again at the next pass."""
    if progress is None:
        return False
    if progress.desired_state != control.desired_state:
        return True
    if progress.control_generation >= control.generation:
        return False
    return control.desired_state == "Stopped" or control.generation > _FIRST_GENERATION
