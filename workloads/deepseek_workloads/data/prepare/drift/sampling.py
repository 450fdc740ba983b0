"""A sample of raw documents: pieces of objects by chance, and the first documents of each.

The same seed gives the same sample of the same objects. It reads a bounded number of documents, whatever lies
below the sources.
"""

import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice

from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.part_images import PartImages
from deepseek_workloads.data.prepare.raw import can_be_cut
from deepseek_workloads.data.prepare.read_stage import iter_records, normalized_text
from deepseek_workloads.data.prepare.reading import BadRecord
from deepseek_workloads.data.prepare.records import RawSlice

PIECE_BYTES = 256 * 1024
DOCUMENTS_A_PIECE = 16  # of many pieces: neighbours are alike
_ONE_DOCUMENT = ("text", "html")  # formats whose objects are documents


def sample_documents(
    context: Context, slices: Sequence[RawSlice], *, documents: int, seed: int
) -> Iterator[Document | BadRecord]:
    """At most so many. Raises StoreErrors; ObjectChanged when an object changed since it was listed."""
    given = 0
    pieces = list(draw_pieces(context.run, slices, draws=documents, seed=seed))
    of_each = max(DOCUMENTS_A_PIECE, -(-documents // len(pieces)))
    for piece in pieces:
        records = iter_records(context, [piece], PartImages(context.run.image_settings))
        for record in islice(records, min(of_each, documents - given)):
            given += 1
            if isinstance(record, BadRecord):
                yield record
            else:
                yield Document(normalized_text(record.text, context.run), record.language)
        if given >= documents:
            return


def draw_pieces(run: DatasetRun, slices: Sequence[RawSlice], *, draws: int, seed: int) -> Iterator[RawSlice]:
    """Pieces in an order of chance, none twice; large objects have more of them. Memory: a number an
    object."""
    bounds = list(accumulate((_pieces_of(run, each) for each in slices), initial=0))
    generator = random.Random(seed)  # noqa: S311  not for secrets
    whole: set[int] = set()
    for number in generator.sample(range(bounds[-1]), min(draws, bounds[-1])):
        at = bisect_right(bounds, number) - 1
        if can_be_cut(slices[at], run.raw_sources[slices[at].source]):
            start = (number - bounds[at]) * PIECE_BYTES
            end = min(start + PIECE_BYTES, slices[at].size)
            yield slices[at].model_copy(update={"start": start, "end": end})
        elif at not in whole:
            whole.add(at)
            yield slices[at]


def _pieces_of(run: DatasetRun, piece: RawSlice) -> int:
    if run.raw_sources[piece.source].format in _ONE_DOCUMENT:
        return 1
    return max(1, -(-piece.size // PIECE_BYTES))
