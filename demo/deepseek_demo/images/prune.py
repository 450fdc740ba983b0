"""Which images of a store are of no use any more. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

KEPT = 3  # of each repository: another checkout may be using the one before
MIN_AGE_SECONDS = 3600.0


@dataclass(frozen=True)
class Stored:
    """An image with all its names; `created` in seconds since the epoch."""

    names: tuple[str, ...]
    created: float


def superseded(images: Sequence[Stored], *, in_use: Collection[str], now: float) -> list[str]:
    """Names to remove: of each repository all but the newest, those in use, and those just made."""
    removed: list[str] = []
    for repository in sorted({_repository(name) for image in images for name in image.names}):
        mine = [image for image in images if any(_repository(name) == repository for name in image.names)]
        for image in sorted(mine, key=lambda each: each.created)[:-KEPT]:
            if now - image.created > MIN_AGE_SECONDS and not set(image.names) & set(in_use):
                removed += [name for name in image.names if _repository(name) == repository]
    return removed


def _repository(name: str) -> str:
    return name.rpartition(":")[0]
