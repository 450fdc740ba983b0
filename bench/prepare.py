"""`make bench-prepare`: MB/s of raw text on one core, from JSON lines to tokens, against datatrove.

Both repair the encoding, apply the rules of Gopher and FineWeb and those about repetition, redact e-mail and
IP addresses, drop near-duplicates by MinHash and tokenize, with the same thresholds, bands and tokenizer;
ours also compares candidates exactly. Left out: language identification, the peer's model is a download.
The inputs are texts of a package that uv.lock pins (`prepare_corpus`): anyone gets the same. Each run is a
process of its own on one core, ours and the peer's in turns; imports are not counted. The peer is measured
twice: as it is, with spaCy's words for English, and with words cut at white space, which is what ours does.

Recall and precision are of the pairs of documents that share a group, against the groups that the exact
Jaccard similarity of all pairs makes; half of the documents are edited copies of the others.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from near_duplicates import exact_groups, recall_and_precision
from prepare_corpus import documents, edited, write_lines
from prepare_ours import NEAR
from prepare_settings import EOS
from report import Point, emit, say

from deepseek_workloads.contract.run_config import TokenizerTraining
from deepseek_workloads.data.prepare.near_signatures import plan_bands
from deepseek_workloads.data.prepare.tokenizer import train_tokenizer

HERE: Final = Path(__file__).parent
PEER_REQUIREMENTS: Final = HERE / "prepare-peer-requirements.txt"
FASTER, FOUND = 1.5, 0.95  # the goals
ONE_CORE: Final = {
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}
VOCABULARY: Final = 32_000


def main() -> None:
    arguments = _arguments()
    peer = _peer_interpreter(arguments.peer_environment)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="bench-prepare-", dir=_memory()) as folder:
        work = Path(folder)
        measure_quality(work, peer, size=arguments.labelled)
        measure_speed(work, peer, megabytes=arguments.megabytes, runs=arguments.runs, clock=arguments.clock)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=32, help="of raw text")
    parser.add_argument("--labelled", type=int, default=2000, help="documents whose pairs are all compared")
    clocks = "cpu: processor time, for a machine that others use too"
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help=clocks)
    environment = Path.home() / ".cache/deepseek-operator/bench-prepare"
    parser.add_argument("--peer-environment", type=Path, default=environment)
    quick = "a small setting that only shows that it runs"
    parser.add_argument("--quick", action="store_true", help=quick)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.runs, arguments.megabytes, arguments.labelled = 1, 2, 300
    return arguments


def _peer_interpreter(environment: Path) -> Path:
    """datatrove has an environment of its own, from locked and hashed requirements."""
    python = environment / "bin/python"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not python.exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", version, str(environment)], check=True)
    install = ["uv", "pip", "sync", "--quiet", "--python", str(python), "--require-hashes"]
    subprocess.run([*install, str(PEER_REQUIREMENTS)], check=True)
    return python


def _memory() -> str | None:
    """Where a folder is in memory: disks differ more than what is measured."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def measure_quality(work: Path, peer: Path, *, size: int) -> None:
    corpus = work / "labelled"
    corpus.mkdir()
    texts = [text for text in documents(at_least_bytes=2 * 1024 * size) if len(text.split()) >= 60]
    texts = list(edited(texts[: size // 2], seed=1))
    write_lines(iter(texts), corpus / "texts.jsonl")
    truth = exact_groups(texts, n=NEAR.ngram, threshold=NEAR.threshold)
    pairs = sum(len(group) * (len(group) - 1) // 2 for group in truth)
    say(f"{len(texts)} documents; {pairs} pairs share a group by exact similarity")
    ours = recall_and_precision(_ours(corpus, work / "our-groups", groups=True)["groups"], truth)
    theirs = recall_and_precision(
        _theirs(peer, corpus, work / "peer-groups", words="space", groups=True)["groups"], truth
    )
    for name, our_value, their_value in zip(("recall", "precision"), ours, theirs, strict=True):
        say(f"near-duplicates, {name}: {our_value:.4f}, datatrove {their_value:.4f}")
        emit(
            Point(
                "prepare",
                f"near-duplicates-{name}",
                [our_value],
                "share of pairs",
                goal=FOUND,
                peer="datatrove",
                peer_values=[their_value],
                higher_is_better=True,
            )
        )


def measure_speed(work: Path, peer: Path, *, megabytes: int, runs: int, clock: str) -> None:
    corpus = work / "corpus"
    corpus.mkdir()
    size = write_lines(documents(at_least_bytes=megabytes * 10**6), corpus / "texts.jsonl")
    tokenizer = work / "tokenizer.json"
    texts = (json.loads(line)["text"] for line in (corpus / "texts.jsonl").open())
    settings = TokenizerTraining(vocab_size=VOCABULARY, special_tokens=["<|begin_of_text|>", EOS])
    train_tokenizer(texts, settings=settings, normalization="none").save(str(tokenizer))
    say(f"{size / 1e6:.1f} MB of text")
    rates: dict[str, list[float]] = {"ours": [], "spacy": [], "space": []}
    for run in range(runs):
        for side, done in rates.items():
            output = work / f"{side}-{run}"
            spent = (
                _ours(corpus, output, tokenizer=tokenizer)
                if side == "ours"
                else _theirs(peer, corpus, output, tokenizer=tokenizer, words=side)
            )
            done.append(size / 1e6 / spent[clock])
            say(f"{run} {side}: {done[-1]:.2f} MB/s, {spent['tokens']} tokens")
    for side, name in (("spacy", "datatrove"), ("space", "datatrove, words cut at white space")):
        emit(
            Point(
                "prepare",
                f"clean-quality-minhash-tokenize-{side}",
                rates["ours"],
                "MB/s per core",
                goal=FASTER,
                peer=name,
                peer_values=rates[side],
                higher_is_better=True,
            )
        )


def _ours(corpus: Path, output: Path, *, tokenizer: Path | None = None, groups: bool = False) -> Any:
    return _child([sys.executable, str(HERE / "prepare_ours.py")], corpus, output, tokenizer, groups)


def _theirs(
    peer: Path,
    corpus: Path,
    output: Path,
    *,
    words: str,
    tokenizer: Path | None = None,
    groups: bool = False,
) -> Any:
    bands = plan_bands(NEAR)
    command = [str(peer), str(HERE / "prepare_peer.py"), "--words", words]
    command += ["--bands", str(bands.count), "--rows", str(bands.rows)]
    return _child(command, corpus, output, tokenizer, groups)


def _child(command: Sequence[str], corpus: Path, output: Path, tokenizer: Path | None, groups: bool) -> Any:
    output.mkdir()
    given = ["--corpus", str(corpus), "--output", str(output)]
    given += ["--tokenizer", str(tokenizer)] if tokenizer else []
    given += ["--groups"] if groups else []
    done = subprocess.run(
        [*command, *given],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=output,
        env={**os.environ, **ONE_CORE},
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
