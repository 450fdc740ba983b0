"""What a teacher foresees at the positions of datasets that are learnt, computed once and stored.

    python -m deepseek_workloads.train.teacher_logits --teacher s3://models/large/exports/sha256-... \\
        --dataset s3://data/docs --uri s3://data/taught/docs-large-64 --sequence-length 512 --top-k 64

Of each position it keeps the k most probable tokens, their probabilities at the temperature, and the mass
of all others. Several processes, with RANK and WORLD_SIZE as torchrun sets them, or --rank and --world-size,
each compute their share of the parts, and need not know each other nor run at the same time: the one that
ends last checks what the others stored, publishes all by one conditional write, and prints the digest, which
`training.distillation.teacherLogits` names. Started again, each goes on where it was. It takes a GPU where
there is one.
"""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import torch

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.run_config import Data, Source, Storage
from deepseek_workloads.contract.teacher_logits import TeacherLogits, TopKFile, TopKSource
from deepseek_workloads.data.conversations import conversation_starts
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import DatasetError, PinnedManifest, pin_manifest
from deepseek_workloads.data.top_k import position_bytes
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.files import TOKENIZER
from deepseek_workloads.export.load import ExportReader, load_export, open_export
from deepseek_workloads.plan.training_rules import mixes_conversations
from deepseek_workloads.store.interface import NotFound, ObjectStore, StoreError
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.json_lines import json_line
from deepseek_workloads.train.precision import DTYPES
from deepseek_workloads.train.teacher_logits.arguments import Asked, parse
from deepseek_workloads.train.teacher_logits.computing import Teacher, compute_share
from deepseek_workloads.train.teacher_logits.parts import Part, plan_parts, share_of
from deepseek_workloads.train.teacher_logits.storing import Published, StoredParts
from deepseek_workloads.train.teacher_logits.texts import Texts


def run(asked: Asked, open_store: Callable[[Storage], ObjectStore] = open_store) -> dict[str, object]:
    """What is to be told: the digest, or how many parts other processes still have to finish. Raises
    DatasetError, ExportError and StoreErrors."""
    with ExitStack() as stack:

        def opened(uri: str) -> ObjectStore:
            storage = Storage(uri=uri, endpoint_url=asked.endpoint_url, region=asked.region)
            return stack.enter_context(closing(open_store(storage)))

        stores = [opened(uri) for uri in asked.datasets]
        pinned = [pin_manifest(store, None) for store in stores]
        export = _export(opened(asked.teacher))
        wanted = _wanted(asked, export, pinned)
        plan = _plan(asked, pinned, stores)
        positions = max(1, asked.part_bytes // position_bytes(asked.top_k))
        stored = StoredParts(opened(asked.uri), wanted, part_positions=positions)
        if (found := stored.published()) is not None:
            return _told(asked, found)
        texts = Texts(plan, stores)
        parts = plan_parts(texts.most_positions(), most=positions)
        load, report = partial(_load, asked, export), partial(_report, asked)
        share = share_of(parts, rank=asked.rank, world_size=asked.world_size)
        compute_share(share, stored, texts, load, report)
        own = {part.number for part in share}
        others = [part for part in parts if part.number not in own]
        if others and not _missing(parts, stored.finished()):
            report("all parts are finished: those of others are checked before they are published")
            compute_share(others, stored, texts, load, report)
        finished = stored.finished()  # another that ends last may have begun one again
        if missing := _missing(parts, finished):
            return {"uri": asked.uri, "parts": len(parts), "missingParts": missing}
        return _told(asked, stored.publish(parts, finished))


def _export(store: ObjectStore) -> ExportReader:
    """Its digest says which teacher the logits are of; a folder of Hugging Face has none."""
    try:
        return open_export(store)
    except NotFound as error:
        raise NotFound(
            f"--teacher {error}: must be the prefix of an export (status.export.uri of a job); a folder of "
            "Hugging Face has no manifest: name it in training.distillation.teacher, which takes both"
        ) from error


def _missing(parts: Sequence[Part], finished: Mapping[int, TopKFile]) -> int:
    """How many."""
    return sum(part.number not in finished for part in parts)


def _wanted(asked: Asked, export: ExportReader, pinned: Sequence[PinnedManifest]) -> TeacherLogits:
    architecture = export.architecture()
    tokenizer = sha256_digest(export.read(TOKENIZER))
    _check_teacher(asked, architecture)
    for uri, of_source in zip(asked.datasets, pinned, strict=True):
        _check_dataset(uri, of_source, tokenizer, architecture)
    return TeacherLogits(
        teacher_uri=asked.teacher,
        teacher_digest=export.digest,
        precision=asked.precision,
        top_k=asked.top_k,
        temperature=asked.temperature,
        vocab_size=architecture.vocab_size,
        objective=asked.objective,
        sequence_length=asked.sequence_length,
        document_mask=asked.document_mask,
        sources=[TopKSource(dataset_digest=of_source.digest) for of_source in pinned],
    )


def _check_teacher(asked: Asked, theirs: Architecture) -> None:
    """Raises DatasetError."""
    if not 1 <= asked.top_k <= theirs.vocab_size:
        raise DatasetError(f"--top-k {asked.top_k}: must be 1 to the teacher's {theirs.vocab_size} tokens")
    if not 2 <= asked.sequence_length <= theirs.max_position_embeddings:
        raise DatasetError(
            f"--sequence-length {asked.sequence_length}: must be 2 to {theirs.max_position_embeddings}, the "
            "most that the teacher reads"
        )
    mixing = mixes_conversations(theirs)
    if asked.document_mask and mixing is not None:
        raise DatasetError(
            f"--document-mask: the teacher's attention {mixing} would mix the documents of a sequence: use a "
            "teacher of attention.kind mla without an indexer"
        )
    if asked.objective == "sft" and theirs.attention.kind == "lsh":
        raise DatasetError(
            "--objective sft: the teacher's attention lsh would sort padding in among the tokens: use a "
            "teacher of another attention.kind"
        )


def _check_dataset(uri: str, pinned: PinnedManifest, tokenizer: str, theirs: Architecture) -> None:
    """Raises DatasetError."""
    manifest = pinned.manifest
    if manifest.tokenizer_digest != tokenizer:
        raise DatasetError(
            f"--dataset {uri}: its tokenizer is {manifest.tokenizer_digest}, the teacher's {tokenizer}: must "
            "be the same: name a dataset that was prepared with the teacher's"
        )
    if manifest.vocab_size > theirs.vocab_size:
        raise DatasetError(
            f"--dataset {uri}: its tokenizer has {manifest.vocab_size} ids, the teacher "
            f"{theirs.vocab_size}: name a dataset that was prepared with the teacher's tokenizer"
        )
    if manifest.images is not None:
        raise DatasetError(f"--dataset {uri}: has images, which the teacher is not shown: name one of text")


def _plan(asked: Asked, pinned: Sequence[PinnedManifest], stores: Sequence[ObjectStore]) -> SamplePlan:
    data = Data(
        sources=[Source(name=Path(uri).name, storage=Storage(uri=uri)) for uri in asked.datasets],
        sequence_length=asked.sequence_length,
        document_mask=asked.document_mask or None,
    )
    manifests = [each.manifest for each in pinned]
    if asked.objective == "pretrain":
        return SamplePlan(data, manifests)
    # One by one: the same for runs that pack them and for those that pad them.
    return SamplePlan(data, manifests, conversation_starts(data, manifests, stores), bucketed=1)


def _load(asked: Asked, export: ExportReader) -> Teacher:
    device = "cpu"
    if torch.cuda.is_available():
        device = f"cuda:{asked.local_rank % torch.cuda.device_count()}"
        torch.cuda.set_device(device)
    loaded = load_export(export.store, recorded=export.digest, dtype=DTYPES[asked.precision], device=device)
    return Teacher(loaded.model, asked.top_k, asked.temperature, asked.sequences)


def _told(asked: Asked, published: Published) -> dict[str, object]:
    return {"uri": asked.uri, "digest": published.digest, "records": published.records}


def _report(asked: Asked, line: str) -> None:
    print(f"rank {asked.rank} of {asked.world_size}: {line}", file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    try:
        told = run(parse(argv))
    except (DatasetError, ExportError) as error:
        print(error, file=sys.stderr)
        return int(ExitCode.BAD_INPUT)
    except StoreError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return int(ExitCode.TRY_AGAIN if error.transient else ExitCode.BAD_INPUT)
    print(json_line(told))
    return int(ExitCode.DONE)


if __name__ == "__main__":
    # The first process of a container gets no signal that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(ExitCode.TRY_AGAIN)))
    sys.exit(main(sys.argv[1:]))
