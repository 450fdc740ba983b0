"""How a launcher lets rank 0 begin its epoch of the commit log."""

import os
from collections.abc import Callable

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.recipe import recipe_of
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.store.log import CommitLog, Writer


def epoch_beginner(run_document: str, run: TrainingRun, *, term: list[int]) -> Callable[[CommitLog], Writer]:
    """`term` orders this run's groups: a straggler of an older coordinator cannot take the log back."""

    def begin(log: CommitLog) -> Writer:
        return log.begin_epoch(
            run_config_digest=sha256_digest(run_document.encode()),
            owner_uid=run.owner.uid,
            term=term,
            pod=os.environ.get(environment.POD_NAME, ""),
            recipe=recipe_of(run),
        )

    return begin
