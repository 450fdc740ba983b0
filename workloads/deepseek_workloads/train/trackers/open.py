"""From a run's settings to its trackers."""

from collections.abc import Callable

from deepseek_workloads.contract.monitoring import Mlflow, WeightsAndBiases
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.train.trackers.interface import Tracker
from deepseek_workloads.train.trackers.sending import TrackerThread


def open_trackers(run: TrainingRun) -> list[TrackerThread]:
    """Of rank 0. Nothing is imported, and nobody called, in this thread."""
    mlflow, wandb = run.monitoring.mlflow, run.monitoring.wandb
    threads = []
    if mlflow is not None:
        threads.append(TrackerThread("MLflow", _mlflow(mlflow, run)))
    if wandb is not None:
        threads.append(TrackerThread("Weights & Biases", _wandb(wandb, run)))
    return threads


def _mlflow(config: Mlflow, run: TrainingRun) -> Callable[[], Tracker]:
    def opened() -> Tracker:
        from deepseek_workloads.train.trackers.mlflow import MlflowTracker

        return MlflowTracker(config, run)

    return opened


def _wandb(config: WeightsAndBiases, run: TrainingRun) -> Callable[[], Tracker]:
    def opened() -> Tracker:
        from deepseek_workloads.train.trackers.wandb import WandbTracker

        return WandbTracker(config, run)

    return opened
