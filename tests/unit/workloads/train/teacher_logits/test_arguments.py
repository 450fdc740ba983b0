"""Words of the command that no teacher can follow are refused by name."""

import pytest

from deepseek_workloads.train.teacher_logits.arguments import parse

WORDS = ("--teacher", "s3://models/large", "--dataset", "s3://docs", "--uri", "s3://taught")
ASKED = (*WORDS, "--sequence-length", "64")


@pytest.mark.parametrize("temperature", ["nan", "inf", "0", "-1"])
def test_a_temperature_that_gives_no_probabilities_is_refused(
    temperature: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        parse([*ASKED, "--temperature", temperature], {})

    assert refused.value.code == 2
    assert f"--temperature {temperature}: must be a finite number above 0" in capsys.readouterr().err


def test_any_other_temperature_is_taken() -> None:
    assert parse([*ASKED, "--temperature", "0.5"], {}).temperature == 0.5
