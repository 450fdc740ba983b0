"""A dataset's manifest: loaded, held against its digest and its own rules. It does not read shards."""

from dataclasses import dataclass

from pydantic import ValidationError

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import DATASET_MANIFEST, join_uri
from deepseek_workloads.contract.records import DatasetManifest, ImageFormat, Shard
from deepseek_workloads.store.interface import ObjectStore


class DatasetError(Exception):
    """A dataset cannot be used as asked. `reason` is one of `contract.reasons`; never worth a retry."""

    def __init__(self, message: str, reason: str = reasons.DATASET_INVALID) -> None:
        super().__init__(message, reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class PinnedManifest:
    manifest: DatasetManifest
    digest: str  # sha256 of the document as it lies in the store


def pin_manifest(store: ObjectStore, digest: str | None) -> PinnedManifest:
    """Read `manifest.json`; with `digest` None it is taken as found; the result has what was found.

    Raises DatasetError (another digest, or no valid manifest) and the StoreErrors of `read`.
    """
    document = store.read(DATASET_MANIFEST)
    uri = join_uri(store.uri, DATASET_MANIFEST)
    found = sha256_digest(document)
    if digest is not None and found != digest:
        raise DatasetError(
            f"{uri}: digest {found}: must be {digest}; the dataset was changed or replaced: "
            "point to the one that is meant, or take its new digest",
            reasons.DATASET_DIGEST_MISMATCH,
        )
    try:
        manifest = DatasetManifest.model_validate_json(document)
    except ValidationError as error:
        raise DatasetError(
            f"{uri}: no manifest of this version: {error}; prepare the dataset again"
        ) from error
    for shard in (*manifest.train, *manifest.held_out):
        _check_shard(shard, uri=uri)
        _check_images(shard, manifest.images, uri=uri)
    return PinnedManifest(manifest, found)


def load_manifest(store: ObjectStore, digest: str | None) -> DatasetManifest:
    """As `pin_manifest`, without the digest."""
    return pin_manifest(store, digest).manifest


def token_bytes(shard: Shard) -> int:
    """Bytes of one token id."""
    return 2 if shard.dtype == "uint16" else 4


def _check_images(shard: Shard, images: ImageFormat | None, *, uri: str) -> None:
    if shard.images is None:
        return
    patches, size = images.shape if images is not None else (0, 0)
    if shard.images.size != shard.images.images * patches * size:
        raise DatasetError(
            f"{uri}: images of shard {shard.key}: {shard.images.images} of {patches} patches of {size} bytes "
            f"are not the {shard.images.size} bytes that it names; prepare the dataset again"
        )


def _check_shard(shard: Shard, *, uri: str) -> None:
    if shard.chunk_tokens < 1 or shard.tokens < 0:
        raise DatasetError(f"{uri}: shard {shard.key}: negative or zero counts; prepare the dataset again")
    chunks = -(-shard.tokens // shard.chunk_tokens)
    if len(shard.chunk_checksums) != chunks or shard.size != shard.tokens * token_bytes(shard):
        raise DatasetError(
            f"{uri}: shard {shard.key}: {shard.tokens} tokens of {shard.dtype} need {chunks} chunk checksums "
            f"and {shard.tokens * token_bytes(shard)} bytes, but it names {len(shard.chunk_checksums)} and "
            f"{shard.size}; prepare the dataset again"
        )
