"""The supervisor itself, in this process, with real children and a real socket."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from deepseek_workloads.contract import environment, reasons
from deepseek_workloads.contract.messages import Progress, Report, ServingProgress, StageProgress, Verdict
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.supervise.coordinator import Coordinator, has_ready_replica, position_of
from deepseek_workloads.supervise.settings import Settings

SECONDS = 60


async def test_a_port_that_is_taken_ends_the_pod_with_a_verdict(
    training_run: TrainingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would else wait for workers for ever, and nobody could ask it why."""
    settings = Settings(
        role=environment.ROLE_COORDINATOR,
        pod_name="tiny-coordinator-0",
        pod_ip="127.0.0.1",
        worker_index=0,
        incarnation=0,
        coordinator_host="127.0.0.1",
        token="t0ken",
        run_config_path=tmp_path / "run.json",
        grace_seconds=30,
        drain_file=tmp_path / "drain",
        scratch=tmp_path,
        termination_message_path=tmp_path / "termination-log",
    )
    run = training_run.model_copy(update={"backend": "horovod"})  # no Ray head beside it
    with socket.create_server(("0.0.0.0", 0)) as taken:
        monkeypatch.setattr(environment, "COORDINATOR_PORT", taken.getsockname()[1])

        exit_code = await asyncio.wait_for(Coordinator(settings, run, environ=os.environ).run(), SECONDS)

    verdict = Verdict.model_validate_json(settings.termination_message_path.read_bytes())
    assert (exit_code, verdict.outcome, verdict.reason) == (75, "Retry", reasons.INTERNAL_ERROR)
    assert "address already in use" in verdict.message


def test_the_position_is_the_step_or_the_shards_that_are_done() -> None:
    stages = [StageProgress(name="read", done=4, total=4), StageProgress(name="tokenize", done=3, total=4)]

    assert position_of(Report(rank=1, step=7)) == (7, 0)
    assert position_of(Report(rank=-1, progress=Progress(stages=stages))) == (0, 7)


@pytest.mark.parametrize(("rank", "ready", "expected"), [(-1, 1, True), (-1, 0, False), (0, 1, False)])
def test_the_driver_tells_that_a_replica_is_ready(rank: int, ready: int, expected: bool) -> None:
    progress = Progress(serving=ServingProgress(checked=True, ready_replicas=ready))

    assert has_ready_replica(Report(rank=rank, progress=progress)) is expected
