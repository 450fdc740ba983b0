"""Points of a run's curves to an MLflow server. Credentials are MLflow's own environment variables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from deepseek_workloads.contract.monitoring import Mlflow
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.train.trackers.interface import Point, described

_JOB_TAG: Final = "deepseek.dev/uid"
_METRICS, _PARAMS, _PARAM_LENGTH = 1000, 100, 500  # of one request, as MLflow's REST API limits them


class MlflowTracker:
    """Opening it talks to the server. A job that was restarted goes on in the run that it began."""

    def __init__(self, config: Mlflow, run: TrainingRun) -> None:
        from mlflow import MlflowClient  # a second of imports

        self._client = MlflowClient(tracking_uri=config.tracking_uri)
        experiment = self._experiment(config.experiment)
        known = self._client.search_runs(
            [experiment], filter_string=f"tags.`{_JOB_TAG}` = '{run.owner.uid}'", max_results=1
        )
        if known:
            self._client.update_run(known[0].info.run_id, status="RUNNING")
            made = known[0]
        else:
            tags = {_JOB_TAG: run.owner.uid}
            made = self._client.create_run(experiment, run_name=run.owner.name, tags=tags)
        self._run_id = made.info.run_id
        if not made.data.params:  # a try before may have ended between the two
            self._describe(run)

    def log(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, round(point.time * 1000), point.step)
            for point in points
            for name, value in point.scalars.items()
        ]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(self._run_id, metrics=metrics[start : start + _METRICS])

    def close(self, *, finished: bool) -> None:
        if finished:
            self._client.set_terminated(self._run_id)

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:  # another job has made it since
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _describe(self, run: TrainingRun) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)[:_PARAM_LENGTH]) for name, value in flattened(described(run))]
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(self._run_id, params=params[start : start + _PARAMS])


def flattened(document: Any, *, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values that are no mappings, by their path with dots; lists are values."""
    if not isinstance(document, Mapping):
        yield path, document
        return
    for name, value in document.items():
        yield from flattened(value, path=f"{path}.{name}" if path else str(name))
