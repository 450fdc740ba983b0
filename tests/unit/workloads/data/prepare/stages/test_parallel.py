"""Pairs of texts by the BLEU-4 of one side against the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.pipeline import FilterBleu
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.contract import Dropped
from deepseek_workloads.data.prepare.stages.parallel import filter_bleu, sentence_bleu

SENTENCE = "The operator watches the job and its loss."


def _outcome(text, **settings):
    return filter_bleu(FilterBleu(**settings))(Document(text))


def test_a_translation_stays_and_a_copy_goes() -> None:
    pair = f"{SENTENCE}\n\nDer Operator beobachtet den Auftrag und dessen Verlust."
    assert _outcome(pair) == Document(pair)
    assert _outcome(f"{SENTENCE}\n\n{SENTENCE.upper()}") == Dropped("bleu", "1")


def test_below_the_least_a_pair_goes() -> None:
    assert isinstance(_outcome(f"{SENTENCE}\n\nSomething else is said here.", min_bleu=0.3), Dropped)


@pytest.mark.parametrize(("text", "sides"), [("one side", "1"), ("a\n\nb\n\nc", "3"), ("a\n\n  ", "2")])
def test_what_is_no_pair_goes(text, sides) -> None:
    assert _outcome(text) == Dropped("sides", sides)


def test_the_separator_is_the_templates() -> None:
    assert isinstance(_outcome("Guten Tag ||| Good day", separator="|||"), Document)


def test_scripts_without_spaces_are_compared_by_character() -> None:
    assert 0.3 < sentence_bleu("操作员观察任务和它的损失", "操作员观察任务和损失") < 1


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=12))
def test_a_text_is_its_own_translation(words) -> None:
    text = " ".join(words)
    assert sentence_bleu(text, text) == pytest.approx(1)
    assert 0 <= sentence_bleu(text, "b a c") <= 1
