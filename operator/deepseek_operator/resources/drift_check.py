"""The pod of a drift check: one process that reads the sources and writes nothing."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from deepseek_operator.api.drift_check import DriftCheck
from deepseek_operator.resources.metadata import Document
from deepseek_operator.resources.pod import Member, build_pod
from deepseek_operator.resources.pod_set import PodSet
from deepseek_workloads.contract.environment import JOB_TOKEN, RAY_AUTH_TOKEN, ROLE_DRIFT_CHECK

_PROGRAM: Final = "deepseek_workloads.launch.drift_check"
_NOT_NEEDED: Final = (JOB_TOKEN, RAY_AUTH_TOKEN)  # it talks to storage only


def build_drift_check_pod(
    pod_set: PodSet, *, check: DriftCheck, digest: str, scheduled: datetime
) -> Document:
    """`digest`: of the dataset's manifest. The name follows from the time it is scheduled for: it is made
    once."""
    number = drift_check_number(scheduled)
    pod = build_pod(
        replace(
            pod_set,
            run_policy=pod_set.run_policy.model_copy(update={"termination_grace_period_seconds": 5}),
            claims=tuple(replace(claim, written=False) for claim in pod_set.claims),
        ),
        member=Member(
            role=ROLE_DRIFT_CHECK,
            index=0,
            incarnation=number,
            name=f"{pod_set.resource.prefix}-{ROLE_DRIFT_CHECK}-{number}",
        ),
        placement=pod_set.coordinator,
        resources=check.resources,
        container={
            "command": ["python", "-m", _PROGRAM],
            "args": [
                *("--digest", digest),
                *("--documents", str(check.sample_documents)),
                *("--seed", str(number)),
            ],
        },
        spec={"activeDeadlineSeconds": check.active_deadline_seconds},
    )
    [container] = pod["spec"]["containers"]
    container["env"] = [each for each in container["env"] if each["name"] not in _NOT_NEEDED]
    return pod


def drift_check_number(scheduled: datetime) -> int:
    """Minutes since 1970: no two times of a schedule share one."""
    return int(scheduled.timestamp()) // 60
