"""Watches datasets, jobs and the service until they are where they should be, as a user would with kubectl.

It decides by conditions, never by names of states.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from deepseek_demo import resources_view
from deepseek_demo.commands import StepFailed
from deepseek_demo.console import Console, Step
from deepseek_demo.kubectl import Kubectl

Object = dict[str, Any]
_INTERVAL_SECONDS = 2.0
_DATASET_SECONDS = 1200.0
_JOB_SECONDS = 2400.0
_SERVICE_SECONDS = 900.0


class Watch:
    """Of one namespace. Raises StepFailed with the conditions and the logs to read."""

    def __init__(self, kubectl: Kubectl, console: Console, *, namespace: str) -> None:
        self._console = console
        self._view = _View(kubectl, console, namespace)

    def prepared(self, dataset: Object) -> Object:
        """The dataset once it has succeeded."""
        with self._console.step(f"prepare the text: dataset {dataset['metadata']['name']}") as step:
            return self._view.until_succeeded(dataset, step, seconds=_DATASET_SECONDS)

    def trained(self, job: Object) -> Object:
        """The job once it has succeeded."""
        with self._console.step(f"train: job {job['metadata']['name']}") as step:
            return self._view.until_succeeded(job, step, seconds=_JOB_SECONDS)

    def serving(self, service: Object, *, revision: str, or_newer: str = "") -> Object:
        """The service once it answers with the revision, or with the one that replaced it already."""
        wanted = {revision, or_newer} - {""}
        with self._console.step(f"serve: {service['metadata']['name']} with {revision}") as step:
            return self._view.until_serving(service, step, revisions=wanted, seconds=_SERVICE_SECONDS)


class _View:
    def __init__(self, kubectl: Kubectl, console: Console, namespace: str) -> None:
        self._kubectl = kubectl
        self._console = console
        self._namespace = namespace

    def until_succeeded(self, resource: Object, step: Step, *, seconds: float) -> Object:
        return self._until(
            resource,
            step,
            seconds=seconds,
            is_done=lambda found: resources_view.is_true(found, "Succeeded"),
            why_not=resources_view.failure,
        )

    def until_serving(self, service: Object, step: Step, *, revisions: set[str], seconds: float) -> Object:
        def refused(found: Object) -> str | None:
            reasons = (resources_view.refused_revision(found, revision) for revision in revisions)
            return next(filter(None, reasons), None) or resources_view.failure(found)

        return self._until(
            service,
            step,
            seconds=seconds,
            is_done=lambda found: (
                resources_view.active_revision(found) in revisions
                and resources_view.is_true(found, "Available")
            ),
            why_not=refused,
        )

    def _until(
        self,
        resource: Object,
        step: Step,
        *,
        seconds: float,
        is_done: Callable[[Object], bool],
        why_not: Callable[[Object], str | None],
    ) -> Object:
        deadline, said = time.monotonic() + seconds, ""
        while True:
            found = self._look(resource)
            if is_done(found):
                return found
            if (reason := why_not(found)) is not None:
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
        kinds = "deepseekdatasets,deepseektrainingjobs,deepseekmodelservices,pods"
        found = self._kubectl.list(kinds, namespace=self._namespace)
        of_kind = partial(_of_kind, found)
        shown = map(of_kind, ("DeepSeekDataset", "DeepSeekTrainingJob", "DeepSeekModelService", "Pod"))
        rows = resources_view.rows(*shown)
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


def _of_kind(found: list[Object], kind: str) -> list[Object]:
    return [item for item in found if item["kind"] == kind]
