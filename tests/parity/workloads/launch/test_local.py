"""`python -m deepseek_workloads.launch.local`: the loop without Ray, on a folder."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.optimization import Schedule
from deepseek_workloads.contract.run_config import TrainingRun, Workers
from deepseek_workloads.launch.local import train_here

SECONDS = 240


def start(run: TrainingRun, tmp_path: Path, *, ranks: int) -> subprocess.Popen[str]:
    config = tmp_path / "run-config.json"
    config.write_bytes(run.to_json())
    command = [sys.executable, "-m", "deepseek_workloads.launch.local", f"--run-config={config}"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [*command, f"--ranks={ranks}"], env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def with_steps(run: TrainingRun, steps: int) -> TrainingRun:
    changes = {"steps": steps, "schedule": Schedule(name="constant")}  # which does not depend on the steps
    return run.model_copy(update={"training": run.training.model_copy(update=changes)})


def test_one_rank_in_this_process(folder_run: TrainingRun) -> None:
    run = folder_run.model_copy(update={"workers": Workers(num_nodes=1)})
    assert train_here(with_steps(run, 3)).outcome == "Succeeded"


def test_two_ranks_print_their_verdict(folder_run: TrainingRun, tmp_path: Path) -> None:
    process = start(with_steps(folder_run, 3), tmp_path, ranks=2)
    output, _ = process.communicate(timeout=SECONDS)
    verdict = Verdict.model_validate_json(output.splitlines()[-1])
    assert (verdict.outcome, verdict.step, process.returncode) == ("Succeeded", 3, 0)


def test_an_interrupted_run_goes_on_where_it_was(folder_run: TrainingRun, tmp_path: Path) -> None:
    output: list[str] = []  # read by one reader: communicate() does not see what another has read ahead
    with start(with_steps(folder_run, 1_000_000), tmp_path, ranks=2) as process:
        deadline = threading.Timer(SECONDS, process.kill)
        deadline.start()
        assert process.stdout is not None
        for line in process.stdout:
            if '"event": "step"' in line and not any('"event": "step"' in earlier for earlier in output):
                os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches the whole group
            output.append(line)
    deadline.cancel()
    assert process.returncode == ExitCode.TRY_AGAIN
    assert Verdict.model_validate_json(output[-1]).outcome == "Retry"
    reached = max(json.loads(line)["step"] for line in output if '"event": "checkpoint"' in line)
    finished = start(with_steps(folder_run, reached + 2), tmp_path, ranks=2)
    text, _ = finished.communicate(timeout=SECONDS)
    resumed = next(json.loads(line) for line in text.splitlines() if '"event": "resumed"' in line)
    assert (resumed["step"], finished.returncode) == (reached, 0)
