"""A running job is given fewer nodes, and more again: the same samples, the same losses."""

import pytest
from harness.kubectl import condition, conditions_in_words, is_finished
from harness.platform import Platform
from harness.waiting import wait_until

LOSS_TOLERANCE = 2e-3  # sums in another order


def test_a_running_job_goes_on_with_another_number_of_nodes(
    platform: Platform, dataset: str, undisturbed: str
) -> None:
    name = platform.apply_job("resized", dataset)
    platform.wait_for_step(name, 25)
    scale(platform, name, nodes=1)
    resumed = platform.get("dsjob", name)["status"]["step"]
    platform.wait_for_step(name, resumed + 5)
    assert len(platform.worker_pods(name)) == 1
    scale(platform, name, nodes=2)

    job = platform.wait_until_finished(name)
    assert condition(job, "Succeeded")["status"] == "True", conditions_in_words(job)
    assert job["status"]["restarts"] == 0
    history, expected = platform.history(name), platform.history(undisturbed)
    assert history.sample_ids() == expected.sample_ids()
    assert history.losses() == pytest.approx(expected.losses(), abs=LOSS_TOLERANCE)


def scale(platform: Platform, name: str, *, nodes: int) -> None:
    """Until the run has them."""
    platform.kubectl.run("scale", f"dsjob/{name}", f"--replicas={nodes}")
    wait_until(
        lambda: platform.get("dsjob", name),
        holds=lambda job: (
            job["status"].get("nodes") == nodes and condition(job, "Resized")["status"] == "True"
        ),
        what=f"dsjob/{name} to have {nodes} nodes",
        deadline_seconds=120,
        give_up=lambda job: conditions_in_words(job) if is_finished(job) else "",
        describe=conditions_in_words,
    )
