"""Ray Train's trainer for a fixed set of pods: without what a start would wait for and nobody here uses.

Only this module leans on Ray Train's private names; `tests/parity/workloads/launch` runs it for real, and the
Ray version is pinned to a minor.
"""

from typing import Any

import ray
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer


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


class PodWorkerGroup(WorkerGroup):  # type: ignore[misc]
    """Its ranks have no runtime environment: every pod has the whole of it already. So they run in the
    processes that Ray keeps ready on each node, with torch imported (`supervise.ray_command`)."""

    @staticmethod
    def _get_worker_runtime_env(custom_runtime_env: Any) -> dict[str, Any]:  # noqa: ARG004
        return {}


class PodSetController(TrainController):  # type: ignore[misc]
    worker_group_cls = PodWorkerGroup


class PodSetTrainer(DataParallelTrainer):  # type: ignore[misc]
    """Leaves out:
    - PlacementGroupCleaner: a detached actor that outlives a killed driver and polls a dashboard that is not
      there; what it cleans up ends with the driver anyway.
    - DatasetManager: our data does not come through Ray Data.
    - the autoscaling coordinator (`FixedGroup`).
    - runtime environments, of the controller and of the ranks.
    """

    def _create_default_callbacks(self) -> list[Any]:
        unused = (PlacementGroupCleanerCallback, DatasetsCallback)
        return [c for c in super()._create_default_callbacks() if not isinstance(c, unused)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        arguments["scaling_policy"] = FixedGroup(self.scaling_config)
        # On the driver's node: it offers no CPU to ranks, and a lost head ends both.
        here = {ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
        controller = ray.remote(num_cpus=0, label_selector=here)(PodSetController).remote(**arguments)
        ray.get(controller.run.remote())
        return ray.get(controller.get_result.remote())
