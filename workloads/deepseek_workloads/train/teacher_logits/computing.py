"""One process's share of the parts: those that are finished are verified and kept, the others computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deepseek_workloads.data.blocks import Tokens
from deepseek_workloads.data.top_k import index_of, record_of
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.train.teacher_logits.foresee import top_k_of
from deepseek_workloads.train.teacher_logits.parts import Part
from deepseek_workloads.train.teacher_logits.storing import StoredParts
from deepseek_workloads.train.teacher_logits.texts import Texts


@dataclass(frozen=True)
class Teacher:
    model: DeepseekV3ForCausalLM  # in evaluation mode
    top_k: int
    temperature: float
    sequences: int  # of a pass


def compute_share(
    share: Sequence[Part],
    stored: StoredParts,
    texts: Texts,
    load: Callable[[], Teacher],
    report: Callable[[str], None],
) -> None:
    """`load`: called once, and not at all where nothing is left to compute. Raises the StoreErrors of reading
    and writing; what is finished by then stays."""
    left = []
    finished = stored.finished()
    for part in share:
        file = finished.get(part.number)
        if file is not None and not stored.is_sound(file):
            report(f"part {part.number}: its file is damaged or gone: computed again")
            stored.forget(part)
            file = None
        if file is None:
            left.append(part)
    if kept := len(share) - len(left):
        report(f"{kept} of {len(share)} parts were finished before, and are kept")
    if not left:
        return
    teacher = load()
    for done, part in enumerate(left, start=1):
        tokens = texts.read(part)
        records = _records(teacher, texts, part, tokens)
        stored.put(part, records, index_of(records, tokens, top_k=teacher.top_k))
        report(f"part {part.number} is written, {done} of {len(left)}")


def _records(teacher: Teacher, texts: Texts, part: Part, tokens: Sequence[Tokens]) -> list[bytes]:
    """Of each text of the part."""
    records = [b""] * len(tokens)
    for shown in texts.passes(part, tokens, sequences=teacher.sequences):
        found = top_k_of(teacher.model, shown.rows, top_k=teacher.top_k, temperature=teacher.temperature)
        rows, length = shown.rows.labels.shape
        borders = np.searchsorted(found.positions, np.arange(rows + 1) * length).tolist()
        for row, number in enumerate(shown.numbers):
            records[number] = record_of(found, slice(borders[row], borders[row + 1]))
    return records
