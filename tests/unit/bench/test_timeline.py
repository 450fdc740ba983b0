import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

from timeline import first_step_after, last_epoch, records, start_parts

COORDINATOR = """\
2026-11-22T06:00:02.000000001Z {"component": "supervisor", "event": "event", "what": "Started"}
2026-11-22T06:00:02.5Z Ray runtime started.
2026-11-22T06:00:04.250000000Z {"component": "supervisor", "event": "event", "what": "PreflightExited"}
2026-11-22T06:00:11.250000000Z {"component": "supervisor", "event": "event", "what": "RanksRunning"}
"""
WORKER = """\
2026-11-22T06:00:05.750000000Z {"component": "supervisor", "event": "event", "what": "Connected"}
2026-11-22T06:00:12.000000000Z {"event": "resumed", "epoch": 1, "step": 0}
2026-11-22T06:00:14.000000000Z {"event": "step", "epoch": 1, "step": 1}
2026-11-22T06:00:24.000000000Z {"event": "step", "epoch": 2, "step": 1}
"""
APPLIED = next(iter(records("c", COORDINATOR))).at - 1.5


def test_a_start_is_cut_into_parts_that_add_up() -> None:
    parts = start_parts(APPLIED, list(records("c", COORDINATOR)), list(records("w", WORKER)))
    whole = parts.pop("apply to first step")
    assert whole == pytest.approx(13.5)
    assert sum(parts.values()) == pytest.approx(whole)
    assert parts["preflight"] == pytest.approx(2.25)


def test_a_start_that_is_not_over_has_no_parts_yet() -> None:
    with pytest.raises(LookupError, match="RanksRunning"):
        start_parts(APPLIED, list(records("c", COORDINATOR))[:2], list(records("w", WORKER)))


def test_a_recovery_ends_with_the_first_step_of_a_later_epoch() -> None:
    found = list(records("w", WORKER))
    assert last_epoch(found[:3]) == 1
    assert first_step_after(found, found[0].at, epoch=1) == found[3].at
    assert first_step_after(found[:3], found[0].at, epoch=1) is None
