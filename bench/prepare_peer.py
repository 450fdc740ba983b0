"""datatrove's side of bench-prepare, run by the interpreter of its own environment.

Its steps in its documented order: filters, then signatures, buckets, clusters, and the tokens of the rest.
`--words`: how it cuts words: `spacy` is its default for English, `space` cuts at white space as ours does.
Prints {"wall", "cpu", "tokens"} of the work alone, without imports.
"""

import argparse
import json
import struct
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.logging import logger
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer, load_word_tokenizer
from prepare_settings import (
    DUPLICATE_LINES,
    EOS,
    MIN_WORDS,
    NGRAM,
    PUNCTUATED,
    REPETITION,
    SHORT,
    SHORT_CHARACTERS,
)


class _SpaceWords(WordTokenizer):  # type: ignore[misc]
    """Cuts as str.split does. No step here asks for sentences or spans."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        raise NotImplementedError


def main() -> None:
    arguments = _arguments()
    logger.disable("datatrove")
    words = load_word_tokenizer("eng") if arguments.words == "spacy" else _SpaceWords()
    words.word_tokenize("Its model is loaded now.")
    config = MinhashConfig(
        n_grams=NGRAM,
        num_buckets=arguments.bands,
        hashes_per_bucket=arguments.rows,
        norm_config=TextNormConfig(norm_unicode_diacritics=False, norm_numbers=False),  # as ours
    )
    began = time.perf_counter(), time.process_time()
    if arguments.groups:
        _run(_reader(arguments.corpus), *_signatures(arguments.output, config, words))
        _groups(arguments.output, config, save_groups=True)
        sys.stdout.write(json.dumps({"groups": _read_groups(arguments.output / "clusters")}) + "\n")
        return
    _prepare(arguments, config, words)
    tokens = sum(path.stat().st_size for path in (arguments.output / "tokens").glob("*.ds")) // 2
    spent = {"wall": time.perf_counter() - began[0], "cpu": time.process_time() - began[1]}
    sys.stdout.write(json.dumps({**spent, "tokens": tokens}) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("corpus", "output", "tokenizer"):
        parser.add_argument(f"--{name}", type=Path, required=name != "tokenizer")
    parser.add_argument("--bands", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--words", choices=("spacy", "space"), default="spacy")
    parser.add_argument("--groups", action="store_true", help="only the groups of near-duplicates")
    return parser.parse_args()


def _prepare(arguments: argparse.Namespace, config: MinhashConfig, words: Any) -> None:
    output, filtered = arguments.output, arguments.output / "filtered"
    _run(
        _reader(arguments.corpus),
        FTFYFormatter(unescape_html=False),
        GopherQualityFilter(min_doc_words=MIN_WORDS, language=words),
        GopherRepetitionFilter(
            REPETITION,
            REPETITION,
            dup_line_char_frac=None,
            dup_para_char_frac=None,
            top_n_grams=tuple((n, REPETITION) for n in (2, 3, 4)),
            dup_n_grams=tuple((n, REPETITION) for n in (5, 6, 7, 8, 9, 10)),
            language=words,
        ),
        FineWebQualityFilter(
            line_punct_thr=PUNCTUATED,
            short_line_thr=SHORT,
            short_line_length=SHORT_CHARACTERS,
            char_duplicates_ratio=DUPLICATE_LINES,
            new_line_ratio=1e9,  # ours has no such rule
            language=words,
        ),
        PIIFormatter(),
        JsonlWriter(str(filtered), compression=None),
    )
    _run(_reader(filtered), *_signatures(output, config, words))
    _groups(output, config)
    _run(
        _reader(filtered),
        MinhashDedupFilter(str(output / "clusters")),
        DocumentTokenizer(
            str(output / "tokens"), str(arguments.tokenizer), eos_token=EOS, shuffle_documents=False
        ),
    )


def _run(*steps: Any, tasks: int = 1) -> None:
    LocalPipelineExecutor(pipeline=list(steps), tasks=tasks, workers=1, skip_completed=False).run()


def _reader(folder: Path) -> JsonlReader:
    return JsonlReader(str(folder), glob_pattern="*.jsonl")


def _signatures(output: Path, config: MinhashConfig, words: Any) -> list[Any]:
    return [MinhashDedupSignature(str(output / "signatures"), config=config, language=words)]


def _groups(output: Path, config: MinhashConfig, *, save_groups: bool = False) -> None:
    buckets = MinhashDedupBuckets(str(output / "signatures"), str(output / "buckets"), config=config)
    _run(buckets, tasks=config.num_buckets)
    clusters = MinhashDedupCluster(
        str(output / "buckets"), str(output / "clusters"), config=config, save_cluster_id=save_groups
    )
    _run(clusters)


def _read_groups(folder: Path) -> list[list[int]]:
    """Numbers of documents, of the one input file."""
    groups: dict[int, list[int]] = defaultdict(list)
    for path in folder.glob("*.clusters"):
        for document, cluster in struct.iter_unpack("<2I", path.read_bytes()):
            groups[cluster].append(document)
    return list(groups.values())


if __name__ == "__main__":
    main()
