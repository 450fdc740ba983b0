"""Parts of a teacher's logits in storage: what one process found is published, whatever another does then."""

from pathlib import Path

import numpy as np
import pytest

from deepseek_workloads.contract.teacher_logits import TeacherLogits, TopKSource
from deepseek_workloads.data.top_k import index_of
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.train.teacher_logits.parts import Part
from deepseek_workloads.train.teacher_logits.storing import StoredParts

PARTS = [Part(0, 0, 0, 1), Part(1, 0, 1, 2)]
RECORD = bytes(12)  # one position of one token


@pytest.fixture
def stored(tmp_path: Path) -> StoredParts:
    wanted = TeacherLogits(
        teacher_uri="s3://models/large",
        teacher_digest="sha256:0",
        top_k=1,
        temperature=1.0,
        vocab_size=8,
        sequence_length=2,
        sources=[TopKSource(dataset_digest="sha256:1")],
    )
    found = StoredParts(FileObjectStore(tmp_path), wanted, part_positions=1)
    for part in PARTS:
        tokens = np.array([part.number, 1, 2], dtype=np.uint16)
        found.put(part, [RECORD], index_of([RECORD], [tokens], top_k=1))
    return found


def test_a_part_that_another_process_begins_again_is_published_as_it_was_found(stored: StoredParts) -> None:
    finished = stored.finished()
    stored.forget(PARTS[1])
    published = stored.publish(PARTS, finished)
    assert published.records == 2
    assert stored.published() == published


def test_a_file_of_the_same_size_with_other_content_is_not_sound(stored: StoredParts, tmp_path: Path) -> None:
    file = stored.finished()[0]
    assert stored.is_sound(file)
    (tmp_path / file.key).write_bytes(b"\1" * file.size)
    assert not stored.is_sound(file)
