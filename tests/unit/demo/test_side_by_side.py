"""Steps side by side: all results, or the first failure at once."""

import threading

import pytest

from deepseek_demo.console import PlainConsole
from deepseek_demo.side_by_side import side_by_side


def test_results_are_there_after_the_block() -> None:
    with side_by_side(PlainConsole()) as steps:
        one, two = steps.start(int, "1"), steps.start(int, "2")
    assert one.result() + two.result() == 3


def test_a_failure_is_told_while_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    told = threading.Event()

    class Listening(PlainConsole):
        def print(self, text: str) -> None:
            super().print(text)
            told.set()

    def one_fails() -> None:
        with side_by_side(Listening()) as steps:
            steps.start(int, "one")
            steps.start(told.wait, 30)

    with pytest.raises(ValueError, match="invalid literal"):
        one_fails()
    assert "waiting for the steps beside it" in capsys.readouterr().out
