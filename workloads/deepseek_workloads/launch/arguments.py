"""What the supervisor passes to the processes that it starts, and how they hand a verdict back."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepseek_workloads.contract.messages import Verdict


@dataclass(frozen=True)
class Arguments:
    run_document: str  # the run config as it was mounted
    verdict_file: Path
    attempt: int  # starts of the driver in this pod


def parse_arguments(argv: Sequence[str], *, program: str) -> Arguments:
    """Exits with a usage message when an argument is missing. Raises OSError without a run config."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    parser.add_argument("--run-config", type=Path, required=True)
    parser.add_argument("--verdict-file", type=Path, required=True)
    parser.add_argument("--attempt", type=int, default=1)
    parsed = parser.parse_args(argv)
    return Arguments(parsed.run_config.read_text(), parsed.verdict_file, parsed.attempt)


def write_verdict(path: Path, verdict: Verdict) -> None:
    """All of it or nothing: the supervisor reads it after this process has ended, in whatever way."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(verdict.to_json())
    os.replace(unfinished, path)  # noqa: PTH105 - the atomic one
