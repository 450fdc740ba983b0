"""What Ray Train runs in every rank's process: builds the surroundings, calls the loop, translates its end.

It does not know what the loop does.
"""

import traceback
from typing import Any

import ray.train

from deepseek_workloads.contract.run_config import TrainingRun, parse_run
from deepseek_workloads.launch.epochs import epoch_beginner
from deepseek_workloads.launch.failures import failure_of
from deepseek_workloads.launch.ray_failures import RankFailed
from deepseek_workloads.launch.report import report_client
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.context import TrainContext, draining_by_file
from deepseek_workloads.train.replicas.folder import memory_replicas

RUN_DOCUMENT = "run"
TERM = "term"


def run_rank(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the Verdict as JSON types. Raises RankFailed."""
    run = parse_run(config[RUN_DOCUMENT])
    assert isinstance(run, TrainingRun)
    place = ray.train.get_context()
    rank = place.get_world_rank()
    monitor = report_client(rank, attempt=config[TERM][-1])
    context = TrainContext(
        rank=rank,
        world_size=place.get_world_size(),
        local_rank=place.get_local_rank(),
        open_store=open_store,
        begin_epoch=epoch_beginner(config[RUN_DOCUMENT], run, term=config[TERM]),
        monitor=monitor,
        draining=draining_by_file(),
        memory=memory_replicas(run),
    )
    try:
        from deepseek_workloads.train.loop import train  # torch: not before the channel is up

        return train(run, context).model_dump(mode="json")
    except Exception as error:
        failure = failure_of(error, rank=rank)
        if failure.kind == "failed":
            traceback.print_exc()
        raise RankFailed.of(failure) from None
    finally:
        monitor.close()
