"""Ranks that Horovod joins, without pods: `train` runs configs on them; each rank runs this module."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from training_cases import GROUP_SECONDS, train_alone

from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.launch.horovod_protocol import rank_environment

BUCKET_BYTES = 16 * 1024  # so that the small model's gradients travel in many buckets
HERE = Path(__file__).parent


def train(runs: Sequence[TrainingRun], folder: Path, *, site: str) -> list[Verdict]:
    """Each run, one after another, on two ranks. `site` holds Horovod."""
    sys.path.append(site)
    from deepseek_workloads.launch.horovod_rendezvous import Rendezvous

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "runs").write_bytes(b"\n".join(run.to_json() for run in runs))
    rendezvous = Rendezvous(0)
    slots = rendezvous.plan(["one", "other"], ranks_per_host=1)
    environs = [
        rank_environment(slot, rendezvous_host="127.0.0.1", rendezvous_port=rendezvous.port) for slot in slots
    ]
    ranks = [_start(folder, environ, site) for environ in environs]
    try:
        outputs = [rank.communicate(timeout=GROUP_SECONDS)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
        rendezvous.close()
        sys.path.remove(site)
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(outputs)
    return [Verdict.model_validate_json(line) for line in (folder / "verdicts").read_text().splitlines()]


def _start(folder: Path, environ: Mapping[str, str], site: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(HERE), str(HERE.parents[2] / "workloads"), site])
    return subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        env={**os.environ, **environ, "PYTHONPATH": paths, "HOROVOD_FUSION_THRESHOLD": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def main(folder: Path) -> None:
    import horovod.torch as hvd

    from deepseek_workloads.launch.horovod_rank import group_joiner

    torch.set_num_threads(1)
    hvd.init()
    runs = [TrainingRun.model_validate_json(line) for line in (folder / "runs").read_bytes().splitlines()]
    verdicts = [
        train_alone(
            run,
            rank=hvd.rank(),
            world_size=hvd.size(),
            join_group=group_joiner(run, bucket_bytes=BUCKET_BYTES),
        )
        for run in runs
    ]
    if hvd.rank() == 0:
        (folder / "verdicts").write_text("\n".join(verdict.to_json().decode() for verdict in verdicts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
