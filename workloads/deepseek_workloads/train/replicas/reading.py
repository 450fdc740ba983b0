"""From the pods' memory to the ranks that load a checkpoint: what a rank's own pod holds, and what others do.

It gives bytes away as they lie there: whoever asks verifies them.
"""

from collections.abc import Iterator, Sequence

from deepseek_workloads.store.interface import ByteRange
from deepseek_workloads.train.replicas.folder import ReplicaFolder
from deepseek_workloads.train.replicas.transfers import Transfer, asked_of_holders, in_rounds
from deepseek_workloads.train.writer_ranks import WriterRanks


def read_held(
    asked: Sequence[ByteRange], *, prefix: str, folder: ReplicaFolder, ranks: WriterRanks
) -> Iterator[tuple[int, bytes | memoryview]]:
    """A collective, to its end: every rank takes all that comes. By number in `asked`, in any order, what
    some pod holds below `prefix`; empty ranges are left out."""
    held = ranks.gather_all(folder.keys(prefix))
    own, everywhere = held[ranks.rank], frozenset().union(*held)
    for number, wanted in enumerate(asked):
        if wanted.key in own and wanted.start < wanted.end:
            content = folder.read(wanted.key, wanted.start, wanted.end)
            if content is not None:
                yield number, content
    elsewhere = [number for number, wanted in enumerate(asked) if wanted.key in everywhere - own]
    wants = ranks.gather_all([asked[number] for number in elsewhere])
    rounds = in_rounds(asked_of_holders(held, wants))
    received = ranks.move(rounds, lambda sent: folder.read_or_zeros(sent.key, sent.start, sent.end))
    for number, whole in _joined(wants[ranks.rank], received):
        yield elsewhere[number], whole


def _joined(
    asked: Sequence[ByteRange], received: Iterator[tuple[Transfer, memoryview]]
) -> Iterator[tuple[int, memoryview]]:
    parts: dict[int, bytearray] = {}
    missing: dict[int, int] = {}  # bytes
    for transfer, content in received:
        wanted = asked[transfer.number]
        size = wanted.end - wanted.start
        whole = parts.setdefault(transfer.number, bytearray(size))
        whole[transfer.start - wanted.start : transfer.end - wanted.start] = content
        missing[transfer.number] = missing.get(transfer.number, size) - len(content)
        if missing[transfer.number] == 0:
            yield transfer.number, memoryview(parts.pop(transfer.number))
