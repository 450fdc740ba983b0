"""After a checkpoint is durable: its files into the memory of the pod that wrote them, and of one beside it.

Nothing here decides what is true: what is missing or wrong in memory is read from the store.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.train.replicas.folder import MemoryReplicas, ReplicaFolder, UnfinishedFile, said
from deepseek_workloads.train.replicas.transfers import Transfer, in_rounds, keepers_of, to_keepers
from deepseek_workloads.train.writer_ranks import WriterRanks


@dataclass(frozen=True)
class Published:
    """What rank 0 tells the others of a checkpoint that the log names."""

    prefix: str
    index: tuple[str, bytes]  # its key and content
    files: Sequence[Sequence[FileEntry]]  # by rank


def keep(
    published: Published,
    contents: Iterable[tuple[str, memoryview]],
    *,
    memory: MemoryReplicas,
    ranks: WriterRanks,
) -> list[str]:
    """A collective. `contents`: of this rank's files, by key. Returns rank 0 what could not be kept, and why,
    in words; elsewhere nothing."""
    problems = [_keep_own(published, contents, memory.folder)]
    if memory.copies > 1:
        problems.append(_keep_beside(published, memory, ranks))
    told = [problem for of_rank in ranks.gather(problems) for problem in of_rank if problem]
    return sorted(set(told))


def _keep_own(
    published: Published, contents: Iterable[tuple[str, memoryview]], folder: ReplicaFolder
) -> str | None:
    try:
        folder.forget_all_but(published.prefix)  # first: there is room for one
        folder.put(*published.index)
        for key, content in contents:
            folder.put(key, content)
    except OSError as error:
        return said(error)
    return None


def _keep_beside(published: Published, memory: MemoryReplicas, ranks: WriterRanks) -> str | None:
    """A collective."""
    keepers = keepers_of(ranks.gather_all(memory.pod))
    sizes = [[(file.key, file.size) for file in files] for files in published.files]
    expected = {file.key: file for files in published.files for file in files}
    folder, incoming = memory.folder, _Incoming(memory.folder, expected)
    rounds = in_rounds(to_keepers(keepers, sizes))
    for transfer, content in ranks.move(
        rounds, lambda sent: folder.read_or_zeros(sent.key, sent.start, sent.end)
    ):
        incoming.take(transfer, content)
    return incoming.problem


class _Incoming:
    """Files that another rank sends, in pieces."""

    def __init__(self, folder: ReplicaFolder, expected: dict[str, FileEntry]) -> None:
        self._folder, self._expected = folder, expected
        self._files: dict[str, UnfinishedFile] = {}
        self.problem: str | None = None

    def take(self, transfer: Transfer, content: memoryview) -> None:
        """In the order of a file's pieces."""
        entry = self._expected[transfer.key]
        try:
            if transfer.start == 0:
                self._files[transfer.key] = self._folder.begin(transfer.key, entry.size)
            file = self._files.get(transfer.key)
            if file is not None:
                file.write(transfer.start, content)
                if transfer.end == entry.size:
                    self._end(self._files.pop(transfer.key), entry)
        except OSError as error:
            self.problem = said(error)
            if (file := self._files.pop(transfer.key, None)) is not None:
                file.discard()

    def _end(self, file: UnfinishedFile, entry: FileEntry) -> None:
        """The sender may not have had it itself."""
        if object_checksum(file.content()) == entry.checksum:
            file.finish()
        else:
            file.discard()
