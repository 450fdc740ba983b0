"""What the model is asked of a packed row, and how its answer is scored."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.data.rows import RowImages, Rows
from deepseek_workloads.model.head import IGNORED
from deepseek_workloads.train.answers import last_question
from deepseek_workloads.train.text_scores import bleu, token_f1

EOS, USER = 9, 7
TOKENS = st.lists(st.integers(0, 5), max_size=8)


def row(*documents: list[tuple[int, bool]], cut: bool = False) -> Rows:
    """Each document is (token, whether it is predicted); `cut`: its last token is missing."""
    flat = [(*token, number) for number, document in enumerate(documents) for token in document]
    ids, predicted, owners = (list(column) for column in zip(*flat[: -1 if cut else None], strict=True))
    labels = [
        token if wanted and owner == before else IGNORED
        for token, wanted, owner, before in zip(ids[1:], predicted[1:], owners[1:], owners, strict=False)
    ]
    return Rows(torch.tensor([ids]), torch.tensor([labels]), torch.tensor([owners]))


TWO_TURNS = [
    (USER, False),
    (1, False),
    (2, True),
    (EOS, True),
    (USER, False),
    (3, True),
    (4, True),
    (EOS, True),
]


def test_it_is_asked_for_the_last_answer_of_the_first_conversation() -> None:
    question = last_question(row(TWO_TURNS, [(USER, False), (5, True), (EOS, True)]), eos_token_id=EOS)
    assert question is not None
    assert question.prompt == [USER, 1, 2, EOS, USER]
    assert question.answer == [3, 4]
    assert question.images is None


def test_a_conversation_that_goes_on_after_its_answer_is_asked_for_that_answer() -> None:
    goes_on = [(USER, False), (1, False), (3, True), (USER, False), (EOS, False)]
    question = last_question(row(goes_on), eos_token_id=EOS)
    assert question is not None
    assert (question.prompt, question.answer) == ([USER, 1], [3])


@pytest.mark.parametrize(
    "rows",
    [
        row(TWO_TURNS, cut=True),
        row([(1, True), (2, True), (EOS, True)]),
        row([(USER, False), (1, False), (EOS, False)]),
        Rows(torch.tensor([[1, 2, EOS]]), torch.tensor([[2, EOS]])),
    ],
    ids=["cut", "no question", "no answer", "running text"],
)
def test_what_has_no_question_and_whole_answer_is_passed_over(rows: Rows) -> None:
    assert last_question(rows, eos_token_id=EOS) is None


def test_only_the_images_of_the_prompt_are_shown() -> None:
    plain = row(TWO_TURNS, TWO_TURNS)
    images = RowImages(
        torch.arange(3, dtype=torch.uint8).view(3, 1, 1), torch.tensor([0, 0, 1]), torch.tensor([1, 9, 0])
    )
    question = last_question(Rows(plain.input_ids, plain.labels, plain.documents, images), eos_token_id=EOS)
    assert question is not None
    assert question.images is not None
    assert question.images.patches.flatten().tolist() == [0]
    assert question.images.columns.tolist() == [1]


@given(TOKENS, TOKENS)
def test_token_f1_is_symmetric_and_one_for_the_same_tokens_only(found: list[int], wanted: list[int]) -> None:
    score = token_f1(found, wanted)
    assert 0 <= score <= 1
    assert score == token_f1(wanted, found)
    assert (score == 1) == (sorted(found) == sorted(wanted))


def test_token_f1_counts_a_repeated_token_as_often_as_it_is_wanted() -> None:
    assert token_f1([1, 1, 1, 2], [1, 3]) == pytest.approx(2 * 1 / 6)


def test_bleu_is_that_of_sacrebleu() -> None:
    wanted = ["the cat sat on the mat today", "it is two"]
    assert bleu(wanted, wanted) == pytest.approx(100)
    assert 0 < bleu(["the cat sat on a mat today", "it is two"], wanted) < 100


def test_bleu_sees_the_words_of_a_chinese_text() -> None:
    assert bleu(["猫坐在垫子上面"], ["猫坐在垫子上"]) > 50
