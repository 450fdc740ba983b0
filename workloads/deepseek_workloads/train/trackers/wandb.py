"""Points of a run's curves to Weights & Biases. The key is its own environment variable, WANDB_API_KEY."""

from collections.abc import Sequence

from deepseek_workloads.contract.environment import SCRATCH_DIR
from deepseek_workloads.contract.monitoring import WeightsAndBiases
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.train.trackers.interface import Point, described


class WandbTracker:
    """Opening it talks to the server. A job that was restarted goes on in the run that it began."""

    def __init__(self, config: WeightsAndBiases, run: TrainingRun, *, folder: str = SCRATCH_DIR) -> None:
        import wandb  # seconds of imports

        self._run = wandb.init(
            project=config.project,
            entity=config.entity,
            id=run.owner.uid,
            name=run.owner.name,
            resume="allow",
            config=described(run),
            dir=folder,
            settings=wandb.Settings(
                base_url=config.base_url, console="off", silent=True, disable_git=True, disable_code=True
            ),
        )
        # Its own count of steps only rises; a job that goes on from a checkpoint repeats some.
        self._run.define_metric("*", step_metric="step")

    def log(self, points: Sequence[Point]) -> None:
        for point in points:
            self._run.log({**point.scalars, "step": point.step})

    def close(self, *, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
