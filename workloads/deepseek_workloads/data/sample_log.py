"""Which samples each step of a run took: as `reporting` writes it, and as it is read back.

It does not know the order that they ought to have.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_workloads.contract.layout import RUNS_PREFIX
from deepseek_workloads.data.checksum import chunk_checksum
from deepseek_workloads.store.interface import ObjectStore

_MAX_SAMPLE_IDS = 1024  # in one line of metrics


def sample_fields(ids: Sequence[int]) -> dict[str, object]:
    """Of a line of metrics: two runs can be compared by it. Of large batches a digest only."""
    if len(ids) <= _MAX_SAMPLE_IDS:
        return {"sampleIds": list(ids)}
    return {"sampleIdsDigest": _digest(ids)}


@dataclass(frozen=True)
class LoggedStep:
    epoch: int  # of the run's log
    consumed_samples: int  # after the step
    sample_ids: Sequence[int] | None
    digest: str | None

    def are(self, ids: Sequence[int]) -> bool:
        """Whether the step took these, in this order."""
        return self.digest == _digest(ids) if self.sample_ids is None else list(self.sample_ids) == list(ids)


def logged_samples(store: ObjectStore) -> tuple[dict[int, LoggedStep], int]:
    """By step, what the state came to be by: a step that was taken again takes the place of the line before,
    and of all after that. And how many lines told of a step that another one had told of.

    Raises the StoreErrors of reading.
    """
    steps: dict[int, LoggedStep] = {}
    numbers: set[int] = set()
    lines = newest = 0
    keys = [info.key for info in store.list(RUNS_PREFIX) if info.key.endswith(".jsonl")]
    for key in sorted(keys, key=_written_at):
        for text in store.read(key).splitlines():
            line: dict[str, Any] = json.loads(text)
            if "sampleIds" not in line and "sampleIdsDigest" not in line:
                continue  # of an evaluation, or of a loop of the user's own
            lines += 1
            step = line["step"]
            for given_up in range(step, newest + 1):
                steps.pop(given_up, None)
            steps[step] = LoggedStep(
                line["epoch"], line["consumedSamples"], line.get("sampleIds"), line.get("sampleIdsDigest")
            )
            numbers.add(step)
            newest = step
    return steps, lines - len(numbers)


def _written_at(key: str) -> tuple[str, int]:
    """Sorts `metrics.jsonl` before `metrics-00002.jsonl`, as their epoch wrote them."""
    folder, _, name = key.rpartition("/")
    _, _, part = name.removesuffix(".jsonl").partition("-")
    return folder, int(part) if part.isdigit() else 1


def _digest(ids: Sequence[int]) -> str:
    return chunk_checksum(b"".join(number.to_bytes(8, "little") for number in ids))
