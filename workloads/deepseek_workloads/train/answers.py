"""The model's own answers to held-out conversations, held against those that were given: BLEU and token F1.

It writes what it finds most probable, token by token. Data-parallel ranks share the conversations; each reads
all of them, and knows the answers to all.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from deepseek_workloads.data.held_out import HeldOutReader
from deepseek_workloads.data.rows import Rows
from deepseek_workloads.model.head import IGNORED
from deepseek_workloads.model.images import Images
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.parallelise import ParallelModel
from deepseek_workloads.train.prompts import Prompt, continuations
from deepseek_workloads.train.text_scores import bleu, token_f1

MAX_ANSWER_TOKENS = 256


@dataclass(frozen=True)
class Question:
    prompt: list[int]  # the conversation up to its last answer
    answer: list[int]  # without what ends it
    images: Images | None  # those of the prompt


def score_answers(
    model: ParallelModel,
    group: Group,
    *,
    held_out: HeldOutReader,
    tokenizer_document: bytes,
    conversations: int,
) -> dict[str, float]:
    """A collective. Empty when no held-out conversation has a whole answer. Raises the StoreErrors of
    reading."""
    tokenizer = Tokenizer.from_str(tokenizer_document.decode())
    eos = held_out.plan.manifests[0].eos_token_id
    batches = held_out.batches(rank=0, world_size=1, micro_batch_size=1, max_samples=conversations)
    questions = list(_questions((batch.rows for batch in batches), eos_token_id=eos))
    if not questions:
        return {}
    prompts = (Prompt(question.prompt, question.images) for question in questions)
    found = continuations(model, group, prompts, eos_token_id=eos, max_new_tokens=MAX_ANSWER_TOKENS)
    wanted = [question.answer for question in questions]
    texts, references = ([tokenizer.decode(ids).strip() for ids in each] for each in (found, wanted))
    overlaps = [token_f1(mine, given) for mine, given in zip(found, wanted, strict=True)]
    return {"bleu": bleu(texts, references), "token_f1": sum(overlaps) / len(overlaps)}


def _questions(rows: Iterator[Rows], *, eos_token_id: int) -> Iterator[Question]:
    for of_window in rows:
        question = last_question(of_window, eos_token_id=eos_token_id)
        if question is not None:
            yield question


def last_question(rows: Rows, *, eos_token_id: int) -> Question | None:
    """Of the first conversation of the first row its last answer, and what leads to it. None where the
    row cuts it, or where all is to be predicted: a text, and no answer."""
    if rows.documents is None:
        return None
    size = int((rows.documents[0] == rows.documents[0, 0]).sum())
    ids, labels = rows.input_ids[0, :size], rows.labels[0, : size - 1]
    predicted = (labels != IGNORED).nonzero().flatten()
    if not len(predicted) or int(ids[-1]) != eos_token_id:
        return None
    end = int(predicted[-1]) + 1
    gaps = (labels[:end] == IGNORED).nonzero().flatten()
    if not len(gaps):
        return None
    begin = int(gaps[-1]) + 1
    answer = labels[begin:end].tolist()
    if answer[-1] == eos_token_id:
        answer.pop()
    return Question(ids[: begin + 1].tolist(), answer, _images_before(rows, begin))


def _images_before(rows: Rows, begin: int) -> Images | None:
    if rows.images is None:
        return None
    here = (rows.images.rows == 0) & (rows.images.columns <= begin)
    count = int(here.sum())
    return Images(rows.images.patches[here], torch.zeros(count, dtype=torch.int64), rows.images.columns[here])
