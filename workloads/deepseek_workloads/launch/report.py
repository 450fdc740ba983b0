"""The channel from a process of this pod to the coordinator that the pod's environment names."""

import os

from deepseek_workloads.contract import environment
from deepseek_workloads.train.monitor import ReportClient


def report_client(rank: int, *, attempt: int = 0) -> ReportClient:
    """Raises KeyError outside a pod."""
    return ReportClient(
        host=os.environ[environment.COORDINATOR_HOST],
        port=environment.COORDINATOR_PORT,
        token=os.environ[environment.JOB_TOKEN],
        rank=rank,
        attempt=attempt,
        pod=os.environ.get(environment.POD_NAME, ""),
    )
