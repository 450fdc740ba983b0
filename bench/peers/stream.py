"""mosaicml-streaming (streaming-community) and litdata: the same tokens written and read their way.

Runs in the peers' environment (stream.txt). Their documented ways are followed: for mosaicml-streaming
samples of bytes in shards of 64 MiB with xxh64 hashes, shuffled by its default (py1e) and verified on
download; for litdata its TokensLoader over chunks of 64 MB, shuffled. litdata has no checksums: it reads
without. Both go through torch's (or their own) DataLoader with worker processes, and get a cache in memory
that is empty at the start of every run.
"""

import argparse
import functools
import importlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import torch
from reading import measure

PACKAGES = {"mosaic": "streaming", "litdata": "litdata"}
SHARD_BYTES = 64 * 1024 * 1024


def write_mosaic(tokens: np.ndarray, folder: Path, width: int) -> None:
    from streaming import MDSWriter

    with MDSWriter(
        out=str(folder), columns={"tokens": "bytes"}, hashes=["xxh64"], size_limit=SHARD_BYTES
    ) as out:
        for start in range(0, len(tokens) - width + 1, width - 1):
            out.write({"tokens": tokens[start : start + width].tobytes()})


def write_litdata(tokens: np.ndarray, folder: Path, width: int) -> None:
    from litdata import TokensLoader, optimize

    source = folder.parent / "tokens.npy"
    np.save(source, tokens)
    optimize(
        fn=functools.partial(_pieces, str(source)),
        inputs=[0],
        output_dir=str(folder),
        chunk_size=SHARD_BYTES // (2 * width) * width,
        item_loader=TokensLoader(block_size=width),
        num_workers=1,
        verbose=False,
    )


def _pieces(source: str, _number: int) -> Iterator[torch.Tensor]:
    tokens = np.load(source)
    for start in range(0, len(tokens), 1 << 20):
        yield torch.from_numpy(tokens[start : start + (1 << 20)])


def open_mosaic(options: argparse.Namespace) -> tuple[Iterator[Any], Callable[[], None]]:
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    dataset = StreamingDataset(
        remote=f"s3://{options.bucket}/mosaic",
        local=options.cache,
        shuffle=True,
        validate_hash="xxh64",
        batch_size=options.batch_size,
        predownload=options.ahead,
    )
    loader = DataLoader(
        dataset,
        batch_size=options.batch_size,
        num_workers=options.workers,
        collate_fn=_collate_bytes,
        drop_last=True,
    )
    return _iterate(loader)


def _collate_bytes(samples: list[dict[str, bytes]]) -> torch.Tensor:
    rows = [np.frombuffer(sample["tokens"], dtype=np.uint16) for sample in samples]
    return torch.from_numpy(np.stack(rows).astype(np.int64))


def open_litdata(options: argparse.Namespace) -> tuple[Iterator[Any], Callable[[], None]]:
    from litdata import StreamingDataLoader, StreamingDataset, TokensLoader
    from litdata.streaming import downloader

    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # it has no setting for it
    dataset = StreamingDataset(
        input_dir=f"s3://{options.bucket}/litdata",
        cache_dir=options.cache,
        item_loader=TokensLoader(block_size=options.width),
        shuffle=True,
        drop_last=True,
        max_pre_download=options.ahead or 2,
        storage_options={
            "endpoint_url": options.endpoint_url,
            "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
            "region_name": "us-east-1",
        },
    )
    loader = StreamingDataLoader(
        dataset, batch_size=options.batch_size, num_workers=options.workers, collate_fn=_collate_tensors
    )
    return _iterate(loader)


def _collate_tensors(samples: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(samples).to(torch.int64)


def _iterate(loader: Any) -> tuple[Iterator[Any], Callable[[], None]]:
    batches = iter(loader)

    def close() -> None:
        """Ends the workers, so that their processor time counts."""
        shut_down = getattr(batches, "_shutdown_workers", None)
        if shut_down is not None:
            shut_down()

    return batches, close


def upload(folder: Path, *, bucket: str, prefix: str, endpoint_url: str) -> None:
    client = boto3.client("s3", endpoint_url=endpoint_url, region_name="us-east-1")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder)}")


def write(options: argparse.Namespace) -> None:
    """Of the tokens in a .npy file."""
    tokens = np.load(options.tokens)
    writers = {"mosaic": write_mosaic, "litdata": write_litdata}
    with tempfile.TemporaryDirectory(dir=options.cache) as scratch:
        folder = Path(scratch, options.peer)
        writers[options.peer](tokens, folder, options.width)
        upload(folder, bucket=options.bucket, prefix=options.peer, endpoint_url=options.endpoint_url)


def read(options: argparse.Namespace) -> None:
    openers = {"mosaic": open_mosaic, "litdata": open_litdata}
    importlib.import_module(PACKAGES[options.peer])  # before the clock starts
    measure(
        functools.partial(openers[options.peer], options),
        batch_size=options.batch_size,
        sequence_length=options.width - 1,
        samples=options.samples,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["write", "read"])
    parser.add_argument("peer", choices=["mosaic", "litdata"])
    parser.add_argument("settings", type=json.loads)
    options = parser.parse_args()
    settings = argparse.Namespace(peer=options.peer, **options.settings)
    os.environ["S3_ENDPOINT_URL"] = settings.endpoint_url
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    (write if options.command == "write" else read)(settings)


if __name__ == "__main__":
    main()
