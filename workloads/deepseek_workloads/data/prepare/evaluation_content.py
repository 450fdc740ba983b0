"""Evaluation sets, references and lexicons: read as a whole, decompressed."""

from collections.abc import Iterable

from deepseek_workloads.contract import reasons
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.evaluation_sets import MAX_EVALUATION_BYTES, line_of
from deepseek_workloads.data.prepare.stored_file import CannotDecompress, chunks_of, open_stored
from deepseek_workloads.store.interface import ByteRange


def read_evaluation_set(context: Context, uri: str) -> tuple[bytes, str]:
    """Decompressed, and which object it is. Raises DatasetError."""
    folder, _, name = uri.rpartition("/")
    with context.open(context.run.raw_storage.model_copy(update={"uri": folder})) as store:
        info = store.stat(name)

        def read(start: int, end: int) -> bytes:
            return store.read_ranges([ByteRange(name, start, end, info.etag)])[0]

        with open_stored(read, key=name, size=info.size) as file:
            try:
                return _whole(chunks_of(file), uri=uri), line_of(uri, info)
            except CannotDecompress as error:
                raise DatasetError(
                    f"evaluation set {uri}: {error}: give it whole, or as it is without .gz and .zst",
                    reasons.INVALID_RUN_CONFIG,
                ) from error


def _whole(chunks: Iterable[bytes], *, uri: str) -> bytes:
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > MAX_EVALUATION_BYTES:
            raise DatasetError(
                f"evaluation set {uri}: more than {MAX_EVALUATION_BYTES} bytes once decompressed: split it "
                "into several objects",
                reasons.INVALID_RUN_CONFIG,
            )
    return bytes(content)
