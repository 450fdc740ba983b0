"""`make bench-stream`: tokens a second and processor time from S3 to batches, against mosaicml-streaming (its
maintained fork, streaming-community) and litdata.

One S3 server (versitygw) behind a proxy that adds 0, 20 or 200 ms to each answer. The same random tokens
are written in each loader's own format; every run reads them cold, in a process of its own, in turns. Ours
verifies every chunk, mosaicml-streaming every shard (xxh64), litdata nothing. Of the peers' settings (worker
processes, shards downloaded ahead) the fastest is taken, tried at each latency. Caches lie in memory. Tokens
a second count from the first batch on, processor time counts workers too and no imports. A resume reads at
sample 10^6 and 10^9 of a manifest that names the same shards again and again.

`--quick` reads less, once: to see that it runs. `--latencies 200` measures one latency.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import boto3
import numpy as np
from reading import Reading
from report import Point, emit, say

from local_object_store import Server, proxy_process, running_server

RUNS = 5
LATENCIES = (0, 20, 200)  # ms
SEQUENCE_LENGTH, BATCH_SIZE = 2048, 16
TOKENS, QUICK_TOKENS = 256 * 1024 * 1024, 32 * 1024 * 1024  # two bytes each
TRIAL_SHARE = 4  # a trial of a setting reads one in so many samples
FASTER, RESUME_SECONDS = 1.5, 1.0  # the goals
RESUMES = MappingProxyType({"10^6": 10**6, "10^9": 10**9})
BUCKET = "bench-stream"
HERE = Path(__file__).parent
MEMORY = "/dev/shm"  # noqa: S108 - the peers' caches: a slow disk would be their loss alone
Settings = Mapping[str, Any]
PEERS: Mapping[str, Sequence[Settings]] = MappingProxyType(
    {
        "mosaic": [{"workers": w, "ahead": ahead} for w in (1, 2) for ahead in (None, 65536)],
        "litdata": [{"workers": w, "ahead": ahead} for w in (1, 2) for ahead in (2, 8)],
    }
)


@dataclass(frozen=True)
class Bench:
    server: Server
    peer_python: Path
    tokens: int
    scratch: Path

    @property
    def samples(self) -> int:
        """That every loader has: litdata drops the rest of each chunk, and of its workers."""
        return self.tokens // SEQUENCE_LENGTH * 7 // 8

    def write(self, tokens: Path) -> None:
        boto3.client(
            "s3",
            endpoint_url=self.server.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=self.server.access_key,
            aws_secret_access_key=self.server.secret_key,
        ).create_bucket(Bucket=BUCKET)
        common = {"tokens": str(tokens), "endpoint_url": self.server.endpoint_url}
        for loader in ("ours", *PEERS):
            say(f"writing for {loader}")
            self._run("write", loader, common)

    def read(self, loader: str, endpoint_url: str, settings: Settings, *, samples: int) -> Reading:
        asked = {"endpoint_url": endpoint_url, "samples": samples, **settings}
        return Reading(**self._run("read", loader, asked))

    def resume(self, endpoint_url: str, start_sample: int) -> float:
        asked = {"endpoint_url": endpoint_url, "start_sample": start_sample}
        return float(self._run("resume", "ours", asked)["seconds"])

    def _run(self, command: str, loader: str, asked: Settings) -> dict[str, Any]:
        cache = tempfile.mkdtemp(dir=MEMORY, prefix="bench-stream-")
        settings = {
            "bucket": BUCKET,
            "batch_size": BATCH_SIZE,
            "width": SEQUENCE_LENGTH + 1,
            "cache": cache,
            **asked,
        }
        program = [sys.executable, str(HERE / "stream_ours.py"), command]
        if loader != "ours":
            program = [str(self.peer_python), str(HERE / "peers" / "stream.py"), command, loader]
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        log = self.scratch / f"{loader}.log"
        try:
            with log.open("w") as errors:
                done = subprocess.run(
                    [*program, json.dumps(settings)],
                    env={**os.environ, **self.server.environ, "PYTHONPATH": path},
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
        finally:
            shutil.rmtree(cache, ignore_errors=True)
        lines = done.stdout.strip().splitlines()
        if done.returncode or (command != "write" and not lines):
            raise SystemExit(f"{command} by {loader}: exit {done.returncode}: {log.read_text()[-3000:]}")
        return json.loads(lines[-1]) if command != "write" else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--latencies", type=int, nargs="+", default=LATENCIES)
    options = parser.parse_args()
    tokens = QUICK_TOKENS if options.quick else TOKENS
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-stream-")))
        server = stack.enter_context(running_server(scratch))
        bench = Bench(server, options.peer_python, tokens, scratch)
        drawn = np.random.default_rng(17).integers(0, 50_000, size=tokens, dtype=np.uint16)
        np.save(scratch / "tokens.npy", drawn)
        bench.write(scratch / "tokens.npy")
        for latency in options.latencies:
            endpoint = stack.enter_context(proxy_process(server.endpoint_url, latency_ms=latency))
            compare(bench, endpoint, latency, runs=1 if options.quick else options.runs)


def compare(bench: Bench, endpoint_url: str, latency: int, *, runs: int) -> None:
    """All points of one latency."""
    chosen: dict[str, Settings] = {"ours": {}}
    chosen |= {peer: _fastest(bench, endpoint_url, peer) for peer in PEERS}
    readings: dict[str, list[Reading]] = defaultdict(list)
    for _ in range(runs):
        for loader, settings in chosen.items():
            reading = bench.read(loader, endpoint_url, settings, samples=bench.samples)
            say(f"{latency} ms: {loader}: {reading}")
            readings[loader].append(reading)
    for peer in PEERS:
        _emit_comparison(readings, peer, latency)
    growth = [reading.memory_growth_mib for reading in readings["ours"]]
    emit(Point("stream", f"{latency}ms-memory-growth", growth, "MiB"))
    for name, sample in RESUMES.items():
        seconds = [bench.resume(endpoint_url, sample) for _ in range(runs)]
        emit(Point("stream", f"{latency}ms-resume-{name}", seconds, "s", goal=RESUME_SECONDS))


def _fastest(bench: Bench, endpoint_url: str, peer: str) -> Settings:
    rates = []
    for settings in PEERS[peer]:
        reading = bench.read(peer, endpoint_url, settings, samples=bench.samples // TRIAL_SHARE)
        say(f"{peer} {dict(settings)}: {reading.tokens_per_second:.0f} tokens/s")
        rates.append(reading.tokens_per_second)
    return PEERS[peer][rates.index(max(rates))]


def _emit_comparison(readings: Mapping[str, Sequence[Reading]], peer: str, latency: int) -> None:
    ours, theirs = readings["ours"], readings[peer]
    measured = (
        ("tokens", "tokens_per_second", "tokens/s", FASTER, True),
        ("cpu", "cpu_seconds_per_gb", "s/GB", FASTER, False),
        ("first-batch", "first_batch_seconds", "s", None, False),
    )
    for name, field, unit, goal, higher in measured:
        emit(
            Point(
                bench="stream",
                name=f"{latency}ms-{name}-{peer}",
                values=[getattr(reading, field) for reading in ours],
                unit=unit,
                goal=goal,
                peer={"mosaic": "streaming-community", "litdata": "litdata"}[peer],
                peer_values=[getattr(reading, field) for reading in theirs],
                higher_is_better=higher,
            )
        )


if __name__ == "__main__":
    main()
