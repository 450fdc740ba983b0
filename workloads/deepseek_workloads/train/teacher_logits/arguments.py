"""The words of the command."""

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

_PART_BYTES: Final = 128 * 2**20


@dataclass(frozen=True)
class Asked:
    teacher: str  # URI of an export
    datasets: tuple[str, ...]
    uri: str
    objective: Literal["pretrain", "sft"]
    document_mask: bool
    sequence_length: int
    top_k: int
    temperature: float
    precision: Literal["fp32", "bf16"]
    sequences: int
    part_bytes: int
    rank: int
    world_size: int
    local_rank: int
    endpoint_url: str | None
    region: str


def parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Asked:
    """Exits with a usage message where the words are not understood."""
    parser = argparse.ArgumentParser(prog="python -m deepseek_workloads.train.teacher_logits")
    add = parser.add_argument
    add("--teacher", required=True, help="prefix of an export")
    add("--dataset", required=True, action="append", help="of a prepared one; may be repeated")
    add("--uri", required=True, help="prefix of the logits")
    add("--sequence-length", type=int, required=True)
    add("--objective", choices=("pretrain", "sft"), default="pretrain", help="sft: of conversations")
    add("--document-mask", action="store_true", help="documents of running text are kept apart")
    add("--top-k", type=int, default=64)
    add("--temperature", type=float, default=2.0)
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="of the teacher")
    add("--sequences", type=int, default=8, help="of a pass")
    add("--part-bytes", type=int, default=_PART_BYTES, help="of a file, which a restart computes anew")
    add("--rank", type=int, default=int(environ.get("RANK", "0")), help="of this process; RANK if not given")
    add("--world-size", type=int, default=int(environ.get("WORLD_SIZE", "1")), help="or WORLD_SIZE")
    add("--endpoint-url", help="of the S3 service; credentials come from the environment")
    add("--region", default="us-east-1")
    words = vars(parser.parse_args(argv))
    datasets = tuple(words.pop("dataset"))
    asked = Asked(datasets=datasets, local_rank=int(environ.get("LOCAL_RANK", "0")), **words)
    if not 0 <= asked.rank < asked.world_size:
        parser.error(f"--rank {asked.rank}: must be 0 to {asked.world_size - 1}, below --world-size")
    if not (asked.temperature > 0 and math.isfinite(asked.temperature)):
        parser.error(
            f"--temperature {asked.temperature:g}: must be a finite number above 0; use that of the runs"
        )
    if asked.sequences < 1 or asked.part_bytes < 1:
        parser.error("--sequences and --part-bytes must be at least 1")
    if asked.objective == "sft" and asked.document_mask:
        parser.error("--document-mask: is of running text; conversations are apart in any case")
    return asked
