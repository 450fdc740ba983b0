"""What a teacher foresees at every position of datasets, computed once and stored to distil from.

    python -m deepseek_workloads.train.teacher_logits --teacher s3://models/large/exports/sha256-... \\
        --dataset s3://data/docs --uri s3://data/taught/docs-large-64 --sequence-length 512 --top-k 64

Prints the URI and the digest, which `training.distillation.teacherLogits` names. Of each position it keeps
the k most probable tokens, their probabilities at the temperature, and the mass of all others. Everything is
written below a fresh prefix; one conditional write of the manifest publishes it. It takes a GPU where there
is one.
"""

import argparse
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.run_config import Data, Source, Storage
from deepseek_workloads.contract.teacher_logits import (
    TEACHER_LOGITS_MANIFEST,
    TeacherLogits,
    TopKFile,
    TopKSource,
)
from deepseek_workloads.data.blocks import TokenReader, Tokens
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.loss_mask import ids_of
from deepseek_workloads.data.manifest import DatasetError, pin_manifest
from deepseek_workloads.data.stream import window_tokens
from deepseek_workloads.data.top_k import (
    INDEX_ROW,
    TopK,
    record_bytes,
    record_checksum,
    record_of,
    tokens_checksum,
)
from deepseek_workloads.export.files import TOKENIZER
from deepseek_workloads.export.load import LoadedExport, load_export, open_export
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.memory import LOSS_CHUNK_ELEMENTS
from deepseek_workloads.store.interface import AlreadyExists, ObjectStore, StoreError
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.json_lines import json_line

_FILE_BYTES: Final = 128 * 2**20
_COPIES: Final = 4  # float32 arrays of logits' size of a chunk of positions


def store_teacher_logits(
    plan: SamplePlan,
    datasets: Sequence[tuple[ObjectStore, str]],
    teacher: LoadedExport,
    target: ObjectStore,
    *,
    teacher_uri: str,
    top_k: int,
    temperature: float,
    sequences: int,
    file_bytes: int = _FILE_BYTES,
) -> str:
    """`datasets`: store and digest of each source of `plan`; `sequences`: of a pass. Returns the digest of
    the manifest. Raises AlreadyExists where logits are published, and the StoreErrors of the stores."""
    prefix = f"data/{uuid.uuid4().hex}/"
    windows = max(1, file_bytes // record_bytes(sequence_length=plan.sequence_length, top_k=top_k))
    sources = []
    for number, (store, digest) in enumerate(datasets):
        files: list[TopKFile] = []
        for several in _batched(_windows(plan, number, store), windows):
            name = f"{prefix}{number}-{len(files):06d}"
            files.append(_written(target, name, several, teacher.model, top_k, temperature, sequences))
        sources.append(TopKSource(dataset_digest=digest, files=files))
    document = TeacherLogits(
        teacher_uri=teacher_uri,
        teacher_digest=teacher.digest,
        top_k=top_k,
        temperature=temperature,
        vocab_size=teacher.model.architecture.vocab_size,
        sequence_length=plan.sequence_length,
        sources=sources,
    ).to_json()
    target.create(TEACHER_LOGITS_MANIFEST, document)
    return sha256_digest(document)


def _windows(plan: SamplePlan, number: int, store: ObjectStore) -> Iterator[Tokens]:
    """Of one source, in their order; each block is read once."""
    source = plan.sources[number]
    reader = TokenReader(store, source.space)
    for block in range(source.order.blocks):
        first = block * source.order.block_windows
        tokens = reader.read(*source.block_tokens(block))
        for window in range(first, min(first + source.order.block_windows, source.order.windows)):
            yield window_tokens(source, window, tokens)


def _batched(windows: Iterator[Tokens], size: int) -> Iterator[list[Tokens]]:
    several: list[Tokens] = []
    for window in windows:
        several.append(window)
        if len(several) == size:
            yield several
            several = []
    if several:
        yield several


def _written(
    target: ObjectStore,
    name: str,
    windows: Sequence[Tokens],
    teacher: DeepseekV3ForCausalLM,
    top_k: int,
    temperature: float,
    sequences: int,
) -> TopKFile:
    records: list[bytes] = []
    for start in range(0, len(windows), sequences):
        part = windows[start : start + sequences]
        ids = torch.from_numpy(np.stack([ids_of(tokens).astype(np.int64) for tokens in part]))
        foreseen = top_k_of(teacher, ids[:, :-1], top_k=top_k, temperature=temperature)
        records += [record_of(foreseen, row) for row in range(len(part))]
    index = np.array(
        [
            (record_checksum(record), tokens_checksum(tokens))
            for record, tokens in zip(records, windows, strict=True)
        ],
        dtype=INDEX_ROW,
    ).tobytes()
    target.put(name, b"".join(records))
    target.put(f"{name}.index", index)
    return TopKFile(
        key=name, windows=len(windows), index_key=f"{name}.index", index_checksum=object_checksum(index)
    )


@torch.no_grad()
def top_k_of(teacher: DeepseekV3ForCausalLM, inputs: Tensor, *, top_k: int, temperature: float) -> TopK:
    """`inputs` int64 [b, T] -> of each position the `top_k` most probable next tokens."""
    weight = teacher.lm_head.weight
    hidden = teacher.model(inputs.to(weight.device)).last.flatten(0, 1)
    chunk = max(1, LOSS_CHUNK_ELEMENTS[hidden.is_cuda] // (_COPIES * weight.shape[0]))
    parts = []
    for start in range(0, len(hidden), chunk):
        logits = F.linear(hidden[start : start + chunk], weight).float()
        logarithms = (logits / temperature).log_softmax(-1)
        values, ids = logarithms.topk(top_k, dim=-1)
        rest = logarithms.scatter_(-1, ids, -torch.inf).logsumexp(-1)
        parts.append((ids.cpu().numpy().astype(np.uint32), values.cpu().numpy(), rest.cpu().numpy()))
    found = [np.concatenate(column) for column in zip(*parts, strict=True)]
    rows, length = inputs.shape
    return TopK(
        found[0].reshape(rows, length, top_k),
        found[1].reshape(rows, length, top_k),
        found[2].reshape(rows, length),
    )


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deepseek_workloads.train.teacher_logits")
    parser.add_argument("--teacher", required=True, help="prefix of an export")
    parser.add_argument(
        "--dataset", required=True, action="append", help="of a prepared one; may be repeated"
    )
    parser.add_argument("--uri", required=True, help="prefix of the logits")
    parser.add_argument("--sequence-length", type=int, required=True)
    parser.add_argument("--top-k", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--sequences", type=int, default=8, help="of a pass")
    parser.add_argument("--endpoint-url", help="of the S3 service; credentials come from the environment")
    parser.add_argument("--region", default="us-east-1")
    return parser.parse_args(argv)


def _run(asked: argparse.Namespace) -> dict[str, object]:
    def opened(uri: str) -> ObjectStore:
        return open_store(Storage(uri=uri, endpoint_url=asked.endpoint_url, region=asked.region))

    stores = [opened(uri) for uri in asked.dataset]
    pinned = [pin_manifest(store, None) for store in stores]
    sources = [
        Source(name=Path(uri).name, storage=Storage(uri=uri)) for uri in asked.dataset
    ]  # names are for errors
    plan = SamplePlan(
        Data(sources=sources, sequence_length=asked.sequence_length), [each.manifest for each in pinned]
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with closing(opened(asked.teacher)) as store:
        tokenizer = sha256_digest(open_export(store).read(TOKENIZER))
        teacher = load_export(store, device=device)
    if tokenizer != (theirs := pinned[0].manifest.tokenizer_digest):
        raise DatasetError(
            f"--dataset: its tokenizer is {theirs}, the teacher's {tokenizer}: must be the same"
        )
    _check(teacher, plan, asked)
    digest = store_teacher_logits(
        plan,
        [(store, each.digest) for store, each in zip(stores, pinned, strict=True)],
        teacher,
        opened(asked.uri),
        teacher_uri=asked.teacher,
        top_k=asked.top_k,
        temperature=asked.temperature,
        sequences=asked.sequences,
    )
    return {"uri": asked.uri, "digest": digest, "teacher": teacher.digest}


def _check(teacher: LoadedExport, plan: SamplePlan, asked: argparse.Namespace) -> None:
    """Raises DatasetError."""
    theirs, ids = teacher.model.architecture, plan.manifests[0].vocab_size
    if not 1 <= asked.top_k <= theirs.vocab_size:
        raise DatasetError(f"--top-k {asked.top_k}: must be 1 to the teacher's {theirs.vocab_size} tokens")
    if asked.temperature <= 0 or asked.sequences < 1:
        raise DatasetError("--temperature must be above 0, --sequences at least 1")
    if ids > theirs.vocab_size:
        raise DatasetError(
            f"--dataset: its tokenizer has {ids} ids, the teacher {theirs.vocab_size}: name a dataset that "
            "was prepared with the teacher's tokenizer"
        )
    if asked.sequence_length > theirs.max_position_embeddings:
        raise DatasetError(
            f"--sequence-length {asked.sequence_length}: the teacher reads {theirs.max_position_embeddings} "
            "tokens at most"
        )


def main(argv: Sequence[str]) -> int:
    try:
        told = _run(_arguments(argv))
    except AlreadyExists:
        print("--uri: logits are published there: name a fresh prefix", file=sys.stderr)
        return int(ExitCode.BAD_INPUT)
    except DatasetError as error:
        print(error, file=sys.stderr)
        return int(ExitCode.BAD_INPUT)
    except StoreError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return int(ExitCode.TRY_AGAIN if error.transient else ExitCode.BAD_INPUT)
    print(json_line(told))
    return int(ExitCode.DONE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
