"""The one process of a drift check's pod.

`python -m deepseek_workloads.launch.drift_check --digest D --documents N --seed S`, with the dataset's run
config mounted. Its verdict is the termination message. It needs no Ray and no supervisor: a check that ends
in the middle is done again at its next time."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.run_config import DatasetRun, parse_run
from deepseek_workloads.data.prepare.drift.check import check_drift
from deepseek_workloads.store.open import open_store


def main(argv: Sequence[str]) -> int:
    logging.basicConfig(level=logging.INFO)
    arguments = _arguments(argv)
    run = parse_run(arguments.run_config.read_text())
    assert isinstance(run, DatasetRun)
    verdict = check_drift(
        run,
        digest=arguments.digest,
        documents=arguments.documents,
        seed=arguments.seed,
        open_store=open_store,
    )
    arguments.verdict_file.write_bytes(verdict.to_termination_message())
    return int(ExitCode.TRY_AGAIN if verdict.outcome == "Failed" else ExitCode.DONE)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deepseek_workloads.launch.drift_check")
    mounted = Path(os.environ.get(environment.RUN_CONFIG_PATH, environment.RUN_CONFIG_FILE))
    parser.add_argument("--run-config", type=Path, default=mounted)
    parser.add_argument("--verdict-file", type=Path, default=Path(environment.TERMINATION_MESSAGE_PATH))
    parser.add_argument("--digest", required=True, help="of the dataset's manifest")
    parser.add_argument("--documents", type=int, required=True, help="of the sample, at most")
    parser.add_argument("--seed", type=int, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
