"""Without a terminal, progress is plain lines: one for each thing that happened."""

import io

import pytest
import rich.console

from deepseek_demo.console import Console, LiveConsole, PlainConsole

HEADER = ("kind", "name", "state", "detail")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]


def test_a_step_is_told_from_its_begin_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainConsole().step("build") as step:
        step.say("worker")
    assert lines(capsys) == ["build ...", "build: worker", "build: done in 0 s"]


def test_a_step_that_failed_says_so_and_lets_the_error_through(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="why"), PlainConsole().step("build"):
        raise ValueError("why")
    assert lines(capsys)[-1].startswith("build: FAILED")


def test_progress_is_told_in_tenths(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainConsole().step("train") as step:
        for done in range(101):
            step.progress(done, 100, f"step {done}")
    told = lines(capsys)[1:-1]
    assert told[:2] == ["train: 0 % step 0", "train: 10 % step 10"]
    assert len(told) == 11


def test_a_resource_is_told_of_when_its_state_changes(capsys: pytest.CaptureFixture[str]) -> None:
    console = PlainConsole()
    console.resources(HEADER, [("job", "tiny", "", "")])
    console.resources(HEADER, [("job", "tiny", "Training", "step 1")])
    console.resources(HEADER, [("job", "tiny", "Training", "step 2")])
    assert lines(capsys) == ["job tiny: created", "job tiny: Training step 1"]


def test_a_terminal_shows_a_table_and_keeps_finished_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a dumb one has no live table
    screen = io.StringIO()
    terminal = rich.console.Console(file=screen, force_terminal=True, width=100)
    with LiveConsole(terminal) as live:
        console: Console = live
        with console.step("train") as step:
            console.resources(HEADER, [("job", "tiny", "Training", "step 1")])
            step.progress(1, 2, "step 1")
            live.refresh()
        console.print("[not markup]")
    shown = screen.getvalue()
    for text in ("tiny", "Training", "step 1", "✓", "[not markup]"):
        assert text in shown
