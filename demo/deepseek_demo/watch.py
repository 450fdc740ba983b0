"""Watches the dataset and the job until the job has succeeded, and shows what a user would see with kubectl.

It decides by conditions, never by names of states.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deepseek_demo import resources_view
from deepseek_demo.commands import StepFailed
from deepseek_demo.console import Console, Step
from deepseek_demo.kubectl import Kubectl

Object = dict[str, Any]
_INTERVAL_SECONDS = 2.0
_DATASET_SECONDS = 1200.0
_JOB_SECONDS = 2400.0


@dataclass(frozen=True)
class Run:
    """Both as they ended."""

    dataset: Object
    job: Object


def watch(kubectl: Kubectl, console: Console, *, dataset: Object, job: Object) -> Run:
    """Returns when both have succeeded. Raises StepFailed with the conditions and the logs to read."""
    view = _View(kubectl, console, job["metadata"]["namespace"])
    with console.step(f"prepare the text: dataset {dataset['metadata']['name']}") as step:
        prepared = view.until_succeeded(dataset, step, seconds=_DATASET_SECONDS)
    with console.step(f"train: job {job['metadata']['name']}") as step:
        trained = view.until_succeeded(job, step, seconds=_JOB_SECONDS)
    return Run(prepared, trained)


class _View:
    def __init__(self, kubectl: Kubectl, console: Console, namespace: str) -> None:
        self._kubectl = kubectl
        self._console = console
        self._namespace = namespace

    def until_succeeded(self, resource: Object, step: Step, *, seconds: float) -> Object:
        deadline, said = time.monotonic() + seconds, ""
        while True:
            found = self._look(resource)
            if resources_view.is_true(found, "Succeeded"):
                return found
            if (reason := resources_view.failure(found)) is not None:
                raise StepFailed(f"{reason}\n{self._where_to_look(resource)}")
            waiting = resources_view.waits_for(found)
            if waiting and waiting != said:
                step.say(f"waiting: {waiting}")
                said = waiting
            elif not waiting:
                step.progress(resources_view.percent(found), 100, resources_view.doing(found))
            if time.monotonic() > deadline:
                message = f"waited {seconds:.0f} s for {resource['kind']} {resource['metadata']['name']}"
                raise StepFailed(f"{message}: {waiting}\n{self._where_to_look(resource)}")
            time.sleep(_INTERVAL_SECONDS)

    def _look(self, resource: Object) -> Object:
        """The resource as it is now; all of the namespace is shown."""
        kinds = "deepseekdatasets,deepseektrainingjobs,pods"
        found = self._kubectl.list(kinds, namespace=self._namespace)
        of_kind: Callable[[str], list[Object]] = lambda kind: [item for item in found if item["kind"] == kind]  # noqa: E731
        rows = resources_view.rows(of_kind("DeepSeekDataset"), of_kind("DeepSeekTrainingJob"), of_kind("Pod"))
        self._console.resources(resources_view.HEADER, rows)
        for item in of_kind(resource["kind"]):
            if item["metadata"]["name"] == resource["metadata"]["name"]:
                return item
        raise StepFailed(f"{resource['kind']} {resource['metadata']['name']} was deleted meanwhile")

    def _where_to_look(self, resource: Object) -> str:
        """Commands that show more."""
        kubectl = f"{' '.join(self._kubectl.command)} -n {self._namespace}"
        name = resource["metadata"]["name"]
        labels = f"deepseek.dev/name={name}"
        return "\n".join(
            (
                "look at:",
                f"  {kubectl} describe {resource['kind'].lower()} {name}",
                f"  {kubectl} logs --selector {labels} --all-containers --prefix --tail=-1",
                f"  {' '.join(self._kubectl.command)} -n deepseek-system logs --selector "
                "app.kubernetes.io/name=deepseek-operator --tail=-1",
            )
        )
