"""The contract of a record stage, and how a chain of them is applied to the documents of a part. Pure.

A stage is a function of one document and its settings alone: the same document always becomes the same.
It does not know where documents come from, nor what is done with those that it drops.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from deepseek_workloads.data.prepare.documents import Document

SAMPLES_A_REASON = 3  # of dropped documents, for each stage and part
SAMPLE_CHARACTERS = 400


@dataclass(frozen=True)
class Dropped:
    """The document goes; `reason` is a camelCase name of the rule, `detail` the value that broke it."""

    reason: str
    detail: str = ""


# What a document becomes: itself, another, several (it was split), or nothing.
Outcome = Document | Sequence[Document] | Dropped
RecordStage = Callable[[Document], Outcome]


@dataclass(frozen=True)
class Sample:
    """One dropped document, as the report shows it."""

    reason: str
    detail: str
    text: str  # its first SAMPLE_CHARACTERS


@dataclass
class StageCounts:
    """What one stage did to one part."""

    documents_in: int = 0
    documents_out: int = 0
    bytes_in: int = 0  # UTF-8
    bytes_out: int = 0
    changed: int = 0  # documents that came out with another text
    dropped: Counter[str] = field(default_factory=Counter)  # by reason
    samples: list[Sample] = field(default_factory=list)

    def take(self, document: Document, outcome: Outcome) -> Sequence[Document]:
        """Counts one document and what became of it; returns what goes on."""
        self.documents_in += 1
        self.bytes_in += len(document.text.encode())
        if isinstance(outcome, Dropped):
            self._drop(document, outcome)
            return ()
        kept = [outcome] if isinstance(outcome, Document) else outcome
        self.documents_out += len(kept)
        self.bytes_out += sum(len(each.text.encode()) for each in kept)
        self.changed += [each.text for each in kept] != [document.text]
        return kept

    def _drop(self, document: Document, outcome: Dropped) -> None:
        self.dropped[outcome.reason] += 1
        if self.dropped[outcome.reason] <= SAMPLES_A_REASON:
            sample = Sample(outcome.reason, outcome.detail, document.text[:SAMPLE_CHARACTERS])
            self.samples.append(sample)


def apply_stages(
    documents: Iterable[Document], stages: Sequence[RecordStage], counts: Sequence[StageCounts]
) -> Iterator[Document]:
    """Each document through all stages, in order; `counts`, one a stage, grow meanwhile."""
    for document in documents:
        waiting: Sequence[Document] = (document,)
        for stage, counted in zip(stages, counts, strict=True):
            waiting = [kept for each in waiting for kept in counted.take(each, _applied(stage, each))]
        yield from waiting


def _applied(stage: RecordStage, document: Document) -> Outcome:
    """A document of which a stage leaves no text is dropped by it."""
    outcome = stage(document)
    if isinstance(outcome, Document):
        return outcome if outcome.text.strip() else Dropped("emptied")
    if isinstance(outcome, Dropped):
        return outcome
    kept = [each for each in outcome if each.text.strip()]
    return kept or Dropped("emptied")
