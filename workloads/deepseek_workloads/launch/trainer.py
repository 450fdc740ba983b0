"""Ray Train's TorchTrainer without the helper processes that a fixed set of pods has no use for.

Each of them is a Python process that a start waits for. Only this module leans on Ray Train's private names;
`tests/parity/workloads/launch` runs it for real, and the Ray version is pinned to a minor.
"""

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy


class FixedGroup(FixedScalingPolicy):  # type: ignore[misc]
    """Asks no autoscaler for nodes: the operator makes the pods."""

    def after_controller_start(self, train_run_context: Any) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass

    async def before_controller_shutdown(self) -> None:
        pass

    def before_controller_abort(self) -> None:
        pass


class PodSetTrainer(TorchTrainer):  # type: ignore[misc]
    """Leaves out:
    - PlacementGroupCleaner: a detached actor that outlives a killed driver and polls a dashboard that is not
      there; what it cleans up ends with the driver anyway.
    - DatasetManager: our data does not come through Ray Data.
    - the autoscaling coordinator (`FixedGroup`).
    """

    def _create_default_callbacks(self) -> list[Any]:
        unused = (PlacementGroupCleanerCallback, DatasetsCallback)
        return [c for c in super()._create_default_callbacks() if not isinstance(c, unused)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        arguments["scaling_policy"] = FixedGroup(self.scaling_config)
        return super()._initialize_and_run_controller(**arguments)
