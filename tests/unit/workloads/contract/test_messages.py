import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.messages import MAX_VERDICT_BYTES, Control, Progress, Verdict

FACTS = {
    "outcome": "Failed",
    "reason": "TrainingFailed",
    "epoch": 3,
    "step": 120,
    "checkpoint_prefix": "data/2b7e/",
    "evaluation": {"held_out_bits_per_byte": 1.5},
}


@given(st.text(max_size=6000))
def test_a_termination_message_fits_and_keeps_every_fact(message: str) -> None:
    verdict = Verdict(message=message, **FACTS)
    document = verdict.to_termination_message()
    assert len(document) <= MAX_VERDICT_BYTES
    read = Verdict.model_validate_json(document)
    assert read.model_copy(update={"message": message}) == verdict


@pytest.mark.parametrize("message", ["x" * 9000, '"\n\\' * 3000, "训练" * 3000, "\x00" * 5000])
def test_a_message_that_is_cut_says_so(message: str) -> None:
    document = Verdict(message=message, **FACTS).to_termination_message()
    assert len(document) <= MAX_VERDICT_BYTES
    assert Verdict.model_validate_json(document).message.endswith("... (cut)")


def test_an_infinite_loss_survives_as_json() -> None:
    document = Progress(loss=math.inf, learning_rate=math.nan).to_json()
    assert json.loads(document)["loss"] == "Infinity"
    read = Progress.model_validate_json(document)
    assert read.loss == math.inf
    assert math.isnan(read.learning_rate)


def test_messages_of_a_newer_version_are_understood() -> None:
    assert Control.model_validate_json(b'{"generation": 4, "fromTheFuture": {}}') == Control(generation=4)


def test_names_are_camel_case_on_the_wire() -> None:
    assert json.loads(Control(generation=2, dump_stacks_request=1).to_json()) == {
        "generation": 2,
        "desiredState": "Running",
        "checkpointRequest": 0,
        "dumpStacksRequest": 1,
    }
