"""Backend horovod on real pods: the samples and losses of the Ray run, whatever is killed."""

from typing import Any

import pytest
from conftest import CACHE
from harness.kubectl import condition, conditions_in_words
from harness.platform import Platform, image_builder
from harness.processes import kill_in_pod

from deepseek_demo.images import load

# As between a restarted and an undisturbed run: losses differ by the order of floating-point sums only.
LOSS_TOLERANCE = 2e-3
# Ray's job shards the model, so its sums have another order. A step amplifies such a difference (experts are
# chosen by comparison), until the curves are those of two equally good runs. Before that they are one curve.
COMPARABLE_STEPS = 20
EVALUATION_TOLERANCE = 0.05  # relative, of the finished models


@pytest.fixture(scope="module")
def image(platform: Platform) -> str:
    """Of the workers, with Horovod."""
    builder = image_builder(CACHE)
    built = builder.build_one("worker-horovod")
    load(platform.cluster, built, builder)
    return built.ref


@pytest.fixture(scope="module")
def quiet(platform: Platform, dataset: str, image: str) -> str:
    """A finished job by Horovod that nothing happened to."""
    name = platform.apply_job("horovod-undisturbed", dataset, {"backend": "horovod", "image": image})
    finished = platform.wait_until_finished(name)
    assert condition(finished, "Succeeded")["status"] == "True", conditions_in_words(finished)
    return name


@pytest.fixture(scope="module")
def job(platform: Platform, dataset: str, image: str) -> dict[str, Any]:
    """A finished job with a killed rank in its first half and a killed worker pod in its second."""
    name = platform.apply_job("horovod", dataset, {"backend": "horovod", "image": image})
    platform.wait_for_step(name, 25)
    before = platform.worker_pods(name)
    kill_in_pod(platform.kubectl, before[0], "deepseek_workloads.launch.horovod_rank")
    platform.wait_for_step(name, 100)
    assert platform.worker_pods(name) == before, "a killed rank is replaced in its pod"
    platform.kubectl.delete("pod", before[1], "--grace-period=0", "--force")
    finished = platform.wait_until_finished(name)
    assert condition(finished, "Succeeded")["status"] == "True", conditions_in_words(finished)
    return finished


def test_samples_and_losses_are_those_of_ray(platform: Platform, undisturbed: str, quiet: str) -> None:
    history, expected = platform.history(quiet), platform.history(undisturbed)
    assert history.sample_ids() == expected.sample_ids()
    first = range(1, COMPARABLE_STEPS + 1)
    losses, wanted = history.losses(), expected.losses()
    assert [losses[step] for step in first] == pytest.approx(
        [wanted[step] for step in first], abs=LOSS_TOLERANCE
    )
    evaluation, wanted_evaluation = platform.evaluation(quiet), platform.evaluation(undisturbed)
    assert evaluation["held_out_loss"] == pytest.approx(
        wanted_evaluation["held_out_loss"], rel=EVALUATION_TOLERANCE
    )


def test_kills_change_neither_samples_nor_losses(platform: Platform, quiet: str, job: dict[str, Any]) -> None:
    history, expected = platform.history("horovod"), platform.history(quiet)
    assert history.sample_ids() == expected.sample_ids()
    assert history.losses() == pytest.approx(expected.losses(), abs=LOSS_TOLERANCE)


def test_every_start_is_an_epoch_and_no_older_one_commits(platform: Platform, job: dict[str, Any]) -> None:
    commits = [record["epoch"] for record in platform.history("horovod").log]
    assert commits == sorted(commits)
    assert job["status"]["epoch"] >= 3


def test_only_the_killed_rank_counts_as_a_failure(job: dict[str, Any]) -> None:
    assert job["status"]["failures"] == 1


def test_kubectl_tells_what_carried_the_gradients(platform: Platform, job: dict[str, Any]) -> None:
    assert job["status"]["dataPath"] == "gloo"
    header, row = platform.kubectl.run("get", "dsjob", "horovod", "--output=wide").splitlines()
    at = header.index("DATA-PATH")
    assert row[at:].split()[0] == "gloo"


def test_the_model_is_recorded_as_any_other(platform: Platform, job: dict[str, Any]) -> None:
    export = job["status"]["export"]
    assert platform.get("dsrev", export["revision"])["spec"]["digest"] == export["digest"]
