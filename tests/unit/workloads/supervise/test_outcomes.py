import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.messages import Failure, Progress, Verdict
from deepseek_workloads.supervise import outcomes


@pytest.mark.parametrize(("exit_code", "words"), [(1, "exit code 1"), (139, "signal 11")])
def test_an_ending_without_a_verdict_is_described(exit_code: int, words: str) -> None:
    ending = outcomes.classify_driver_exit(exit_code, None)
    assert isinstance(ending, Failure)
    assert ending.kind == "failed"
    assert words in ending.message


def test_an_error_of_the_driver_itself_keeps_its_words_and_counts() -> None:
    verdict = Verdict(outcome="Retry", reason=reasons.INTERNAL_ERROR, message="no such actor", exit_code=1)
    ending = outcomes.classify_driver_exit(1, verdict)
    assert isinstance(ending, Failure)
    assert (ending.kind, ending.message) == ("failed", "no such actor")


def test_a_verdict_that_only_the_supervisor_could_give_is_filled_in_with_the_position() -> None:
    verdict = Verdict(outcome="Failed", reason=reasons.BACKOFF_LIMIT_EXCEEDED)
    filled = outcomes.with_position(verdict, Progress(epoch=3, step=41, evaluation={"perplexity": 9.0}))
    assert (filled.epoch, filled.step, filled.evaluation) == (3, 41, {"perplexity": 9.0})


def test_the_last_figures_come_with_every_verdict() -> None:
    verdict = Verdict(outcome="Succeeded", reason=reasons.COMPLETED, step=100)
    last = Progress(step=100, tokens=6400, loss=2.5, tokens_per_second=1000.0)
    filled = outcomes.with_position(verdict, last)
    assert (filled.tokens, filled.loss, filled.tokens_per_second) == (6400, 2.5, 1000.0)


def test_what_a_verdict_says_itself_is_kept() -> None:
    verdict = Verdict(outcome="Succeeded", reason=reasons.COMPLETED, epoch=4, step=100)
    assert outcomes.with_position(verdict, Progress(epoch=3, step=41)).step == 100
