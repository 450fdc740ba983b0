"""`make bench-recovery`: seconds from a kill to the next step of all ranks, by what was killed; and from a
power cut of the leader's node to the operator's standby that leads."""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.kubectl import Kubectl
from harness.platform import OPERATOR_NAMESPACE, Platform
from harness.processes import kill_in_pod
from platform_under_test import endless, fresh_name, job_records, platform, prepare_dataset
from report import Point, emit, say
from timeline import Record, first_step_after, last_epoch

RUNS = 5
WARM_STEPS = 15  # past a checkpoint
DEADLINE_SECONDS = 300.0
TAKE_OVER_GOAL_SECONDS = 15.0
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Fault:
    name: str
    goal_seconds: float  # measured without an operator on 2 cores, plus 3 s
    strike: Callable[[Platform, str], None]


def _kill_worker_process(found: Platform, job: str) -> None:
    kill_in_pod(found.kubectl, found.worker_pods(job)[1], "ray::RayTrainWorker")


def _kill_driver(found: Platform, job: str) -> None:
    kill_in_pod(found.kubectl, found.coordinator_pod(job), "deepseek_workloads.launch.ray_train")


def _kill_raylet(found: Platform, job: str) -> None:
    kill_in_pod(found.kubectl, found.worker_pods(job)[1], "raylet/raylet")


def _kill_head(found: Platform, job: str) -> None:
    kill_in_pod(found.kubectl, found.coordinator_pod(job), "gcs_server")


def _delete_worker_pod(found: Platform, job: str) -> None:
    found.kubectl.delete("pod", found.worker_pods(job)[1], "--wait=false")


def _delete_coordinator_pod(found: Platform, job: str) -> None:
    found.kubectl.delete("pod", found.coordinator_pod(job), "--wait=false")


FAULTS = [
    Fault("worker process", 8.0, _kill_worker_process),
    Fault("driver", 12.0, _kill_driver),
    Fault("raylet", 15.0, _kill_raylet),
    Fault("worker pod", 17.0, _delete_worker_pod),
    Fault("head", 16.0, _kill_head),
    Fault("coordinator pod", 19.0, _delete_coordinator_pod),
]


def recover(found: Platform, job: str, fault: Fault) -> float:
    before = _records(found, job)
    epoch, struck = last_epoch(before), time.time()
    fault.strike(found, job)
    while time.time() - struck < DEADLINE_SECONDS:
        step = first_step_after(_records(found, job), struck, epoch=epoch)
        if step is not None:
            return step - struck
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"{job}: no step in {DEADLINE_SECONDS:.0f} s after the loss of its {fault.name}")


def _records(found: Platform, job: str) -> list[Record]:
    return job_records(found, job, role="worker")


def take_over(found: Platform) -> float:
    """From the end of the leader's node to another holder of the Lease; afterwards the node is back."""
    system = found.kubectl.in_namespace(OPERATOR_NAMESPACE)
    leader = _holder(system)
    pod = system.get("pod", leader)
    assert pod is not None, f"the Lease's holder {leader!r} is no pod"
    node = pod["spec"]["nodeName"]
    struck = time.time()
    found.cluster.kill_node(node)
    try:
        while _holder(system) in ("", leader):
            if time.time() - struck > DEADLINE_SECONDS:
                raise TimeoutError(f"nobody follows {leader} after {DEADLINE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        return time.time() - struck
    finally:
        found.cluster.start_node(node)
        system.run("rollout", "status", "deployment/deepseek-operator", "--timeout=180s", timeout=190)


def _holder(system: Kubectl) -> str:
    lease = system.get("lease", "deepseek-operator")
    return "" if lease is None else str(lease["spec"].get("holderIdentity", ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    runs = parser.parse_args().runs
    with platform() as found:
        dataset = prepare_dataset(found)
        # Failures of the run count, and each round strikes twice.
        job = found.apply_job(
            fresh_name("recovery"), dataset, endless({"runPolicy": {"backoffLimit": 10 * runs}})
        )
        for fault in FAULTS:
            values = []
            for number in range(runs):
                step = int(found.get("dsjob", job).get("status", {}).get("step", 0))
                found.wait_for_step(job, step + WARM_STEPS, deadline_seconds=DEADLINE_SECONDS)
                values.append(recover(found, job, fault))
                say(f"{fault.name}, run {number + 1} of {runs}: {values[-1]:.1f} s")
            emit(Point("recovery", fault.name, values, unit="s", goal=fault.goal_seconds))
        found.kubectl.delete("dsjob", job)
        values = [take_over(found) for _ in range(runs)]
        emit(Point("recovery", "operator's standby", values, unit="s", goal=TAKE_OVER_GOAL_SECONDS))


if __name__ == "__main__":
    main()
