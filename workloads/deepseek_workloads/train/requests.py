"""What the coordinator and the pod ask of a run between two steps, as one rank hears it."""

from deepseek_workloads.train.context import TrainContext


class Requests:
    def __init__(self, context: TrainContext) -> None:
        self._context = context
        self._heard = self._done = 0  # of Control.checkpoint_request

    def flags(self) -> tuple[bool, bool, bool]:
        """To stop, to end for a drain, for a checkpoint: to be summed over the ranks. Rank 0 alone asks for
        checkpoints: ranks hear of one request at different steps."""
        control = self._context.monitor.control
        self._heard = control.checkpoint_request
        return (
            control.desired_state == "Stopped",
            self._context.draining(),
            self._context.rank == 0 and self._heard > self._done,
        )

    def checkpoint_written(self) -> None:
        """What was asked for until the newest `flags` is done."""
        self._done = self._heard
