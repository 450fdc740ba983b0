"""Our side of bench-prepare, a process of its own as the peer's is. Prints what `prepare_peer.py` does."""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from prepare_settings import MIN_WORDS, NGRAM, PERMUTATIONS, REPETITION, THRESHOLD

from deepseek_workloads.contract.pipeline import (
    DeduplicateNear,
    FilterRepetition,
    FineWebQuality,
    GopherQuality,
    PipelineStage,
    RedactPii,
    RepairEncoding,
)
from deepseek_workloads.contract.run_config import DatasetRun, Owner, RawSource, Storage, Workers
from deepseek_workloads.data.prepare.context import Context, read_file
from deepseek_workloads.data.prepare.documents import Document, DocumentWriter
from deepseek_workloads.data.prepare.executor import LocalExecutor
from deepseek_workloads.data.prepare.near_components import connected_components
from deepseek_workloads.data.prepare.near_pairs import PAIR_DTYPE, find_pairs
from deepseek_workloads.data.prepare.near_signatures import plan_bands, sign_part
from deepseek_workloads.data.prepare.part_files import put_documents
from deepseek_workloads.data.prepare.pipeline import prepare
from deepseek_workloads.store.open import open_store

NEAR = DeduplicateNear(threshold=THRESHOLD, ngram=NGRAM, permutations=PERMUTATIONS)


def main() -> None:
    arguments = _arguments()
    run = _run(arguments)
    if arguments.groups:
        texts = [json.loads(line)["text"] for line in (arguments.corpus / "texts.jsonl").open()]
        sys.stdout.write(json.dumps({"groups": near_groups(run, texts)}) + "\n")
        return
    began = time.perf_counter(), time.process_time()
    verdict = prepare(
        run, open_store=open_store, executor=LocalExecutor(threads=1), report=lambda _progress: None
    )
    spent = {"wall": time.perf_counter() - began[0], "cpu": time.process_time() - began[1]}
    if verdict.outcome != "Succeeded":
        raise SystemExit(f"{verdict.reason}: {verdict.message}")
    sys.stdout.write(json.dumps({**spent, "tokens": int(verdict.statistics["tokens"])}) + "\n")


def near_groups(run: DatasetRun, texts: list[str]) -> list[list[int]]:
    """Numbers of documents that deduplicateNear takes for alike."""
    context = Context(run=run, attempt="groups", open_store=open_store)
    with context.output() as store:
        writer = DocumentWriter()
        for text in texts:
            writer.add(Document(text))
        written = put_documents(context, store, writer, name="read", number=0)
        signed = [sign_part(context, "signatures", NEAR, [], written)]
        records = [find_pairs(context, "pairs", NEAR, signed, band) for band in range(plan_bands(NEAR).count)]
        pairs = np.concatenate(
            [np.frombuffer(read_file(store, record.pairs), dtype=PAIR_DTYPE) for record in records]
        )
    first, second = (pairs[side]["document"].astype(np.int64) for side in ("first", "second"))
    labels = connected_components(len(texts), first, second)
    return [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("corpus", "output", "tokenizer"):
        parser.add_argument(f"--{name}", type=Path, required=name != "tokenizer")
    parser.add_argument("--groups", action="store_true", help="only the groups of near-duplicates")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> DatasetRun:
    limits = ("top_ngram", "duplicate_ngram", "duplicate_line", "duplicate_paragraph")
    return DatasetRun(
        owner=Owner(namespace="bench", name="prepare", uid="bench"),
        raw_sources=[RawSource(name="texts", uri=arguments.corpus.as_uri(), format="jsonl")],
        raw_storage=Storage(uri=arguments.corpus.as_uri()),
        tokenizer_uri=arguments.tokenizer.as_uri() if arguments.tokenizer else None,
        normalization="none",
        held_out_fraction=0,
        pipeline=[
            PipelineStage(name="repair", repair_encoding=RepairEncoding()),
            PipelineStage(name="quality", gopher_quality=GopherQuality(min_words=MIN_WORDS)),
            PipelineStage(
                name="repetition",
                filter_repetition=FilterRepetition(**{f"max_{name}_share": REPETITION for name in limits}),
            ),
            PipelineStage(name="lines", fine_web_quality=FineWebQuality()),
            PipelineStage(name="pii", redact_pii=RedactPii(kinds=["email", "ipAddress"])),
            PipelineStage(name="alike", deduplicate_near=NEAR),
        ],
        workers=Workers(num_nodes=1),
        storage=Storage(uri=arguments.output.as_uri()),
    )


if __name__ == "__main__":
    main()
