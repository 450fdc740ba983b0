"""The command shows what `status.plan` of a job would, and refuses what the job would be refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from deepseek_workloads.contract.architecture import Vision
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.plan.__main__ import main
from deepseek_workloads.plan.estimate import flops_per_image, flops_per_token, parameters
from deepseek_workloads.plan.hugging_face_config import config_json
from deepseek_workloads.plan.presets import PRESETS

Captured = pytest.CaptureFixture[str]


def rows(capsys: Captured, *arguments: str) -> list[dict[str, Any]]:
    assert main([*arguments, "--json"]) == ExitCode.DONE
    return json.loads(capsys.readouterr().out)


def test_the_command_prints_what_a_preset_costs(capsys: Captured) -> None:
    assert main(["deepseek-v3-1b", "--set", "numHiddenLayers=8", "--json"]) == 0

    (row,) = json.loads(capsys.readouterr().out)
    smaller = PRESETS["deepseek-v3-1b"].model_copy(update={"num_hidden_layers": 8})
    assert row["parameters"] == parameters(smaller)
    assert row["smallestGpuPool"] == "1 (unsharded)"
    assert row["exportedAs"] == "DeepseekV3ForCausalLM"


def test_the_command_estimates_the_pace_on_a_gpu_that_is_named(capsys: Captured) -> None:
    rates = []
    for product in ("A100", "H100"):
        main(["deepseek-v3-16b", "--gpu-product", product, "--json"])
        rates.append(json.loads(capsys.readouterr().out)[0]["estimatedTokensPerSecondAndGpu"])
    assert 0 < rates[0] < rates[1]


def test_the_command_prints_a_line_for_each_preset(capsys: Captured) -> None:
    assert main([]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(PRESETS)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["deepseek-v4"], "spec.model.preset"),
        (["deepseek-v3-tiny", "--set", "moe.nGroup=3"], "moe.nRoutedExperts"),
        (["deepseek-v3-tiny", "--set", "numHiddenLayers"], "must be FIELD=VALUE"),
    ],
)
def test_the_command_says_what_it_refuses(arguments: list[str], named: str, capsys: Captured) -> None:
    assert main(arguments) == 3
    assert named in capsys.readouterr().err


def test_the_command_shares_the_experts_of_its_layout_in_memory_and_pace(
    capsys: Captured,
) -> None:
    def row(degree: int) -> dict[str, float]:
        asked = ["deepseek-v3", "--gpus", "64", "--expert-parallel", str(degree), "--gpu-product", "H200"]
        assert main([*asked, "--json"]) == 0
        return json.loads(capsys.readouterr().out)[0]

    assert row(8)["memoryPerRank"] < row(1)["memoryPerRank"]


@pytest.mark.parametrize(
    ("arguments", "named", "rule", "remedy"),
    [
        (
            ["deepseek-v3-tiny", "--precision", "fp8", "--gpu-product", "A100"],
            "--precision (spec.training.precision): fp8",
            "compute capability 9.0",
            "use bf16",
        ),
        (
            ["transformer-5m", "--expert-parallel", "2"],
            "--expert-parallel (spec.training.parallelism.expertParallelDegree): 2",
            "no routed experts",
            "use 1",
        ),
        (
            ["deepseek-v3", "--gpus", "48", "--expert-parallel", "48"],
            "--expert-parallel (spec.training.parallelism.expertParallelDegree): 48",
            "must divide the 256 routed experts",
            "use 32 or 64",
        ),
        (
            ["deepseek-v3", "--gpus", "2", "--expert-parallel", "8"],
            "--expert-parallel",
            "must divide the 2 processes",
            "use 2, or workers of 8",
        ),
        (
            ["deepseek-v3-tiny", "--sequence-length", "4096"],
            "--sequence-length (spec.data.sequenceLength): 4096",
            "must not exceed maxPositionEmbeddings (2048)",
            "use at most 2048",
        ),
    ],
)
def test_what_a_job_would_be_refused_is_refused_with_the_argument_and_the_field(
    arguments: list[str], named: str, rule: str, remedy: str, capsys: Captured
) -> None:
    assert main(arguments) == ExitCode.BAD_INPUT

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"{arguments[0]}: ")
    for words in (named, rule, remedy):
        assert words in told.err


@pytest.mark.parametrize(
    ("arguments", "rule", "remedy"),
    [
        (["--gpus", "0"], "--gpus 0: must be at least 1", "use 1"),
        (["--sequence-length", "1"], "--sequence-length 1: must be at least 2", "use 2"),
        (["--sequence-length", "0"], "--sequence-length 0: must be at least 2", "use 2"),
        (["--micro-batch-size", "-3"], "--micro-batch-size -3: must be at least 1", "use 1"),
        (["--micro-batch-size", "65537"], "at most 65536", "use 65536"),
        (["--gpu-memory", "-5"], "--gpu-memory -5: must be a finite number above 0", "use 80"),
        (["--gpu-memory", "0"], "--gpu-memory 0: must be a finite number above 0", "--gpu-product"),
        (["--gpu-memory", "nan"], "--gpu-memory nan: must be a finite number above 0", "use 80"),
        (["--gpu-memory", "inf"], "--gpu-memory inf: must be a finite number above 0", "use 80"),
        (["--gpu-memory", "1e308"], "--gpu-memory 1e+308: must be a finite number above 0", "use 80"),
        (["--set", "moe=1", "--set", "moe.nGroup=2"], "--set moe.nGroup=2: moe is given", "use one"),
        (["--hugging-face", "config.json"], "preset deepseek-v3-tiny is given", "leave one of the two away"),
    ],
)
@pytest.mark.parametrize("output", [[], ["--json"]], ids=["table", "json"])
def test_an_argument_that_nothing_can_be_computed_of_is_refused_with_the_rule_and_a_remedy(
    arguments: list[str], rule: str, remedy: str, output: list[str], capsys: Captured
) -> None:
    assert main(["deepseek-v3-tiny", *arguments, *output]) == ExitCode.BAD_INPUT

    told = capsys.readouterr()
    assert told.out == ""
    assert rule in told.err
    assert remedy in told.err


@pytest.mark.parametrize(
    ("content", "why"), [("", "is no JSON ("), ("[]", "is no JSON object"), ("{}", "model_type is None")]
)
def test_a_file_that_is_no_config_is_refused(
    content: str, why: str, tmp_path: Path, capsys: Captured
) -> None:
    config = tmp_path / "config.json"
    config.write_text(content)

    assert main(["--hugging-face", str(config)]) == ExitCode.BAD_INPUT

    assert why in capsys.readouterr().err


@pytest.mark.parametrize("blind", ["deepseek-v3-tiny", "transformer-5m"])
def test_a_model_that_sees_is_planned_as_the_conversations_that_it_is_trained_on(
    blind: str, tmp_path: Path, capsys: Captured
) -> None:
    sees = PRESETS[blind].model_copy(update={"vision": Vision(image_token_id=2)})
    config = tmp_path / "config.json"
    config.write_text(json.dumps(config_json(sees)))

    assert main(["--hugging-face", str(config), "--json"]) == ExitCode.DONE

    assert json.loads(capsys.readouterr().out)["flopsPerImage"] == flops_per_image(sees)


def test_a_setting_for_presets_beside_a_config_is_refused(capsys: Captured) -> None:
    assert main(["--hugging-face", "config.json", "--set", "vocabSize=512"]) == ExitCode.BAD_INPUT

    assert "--set vocabSize=512 is given" in capsys.readouterr().err


def test_a_length_that_was_not_asked_for_is_cut_to_the_positions_and_told(capsys: Captured) -> None:
    assert main(["deepseek-v3-tiny", "--json"]) == ExitCode.DONE

    told = capsys.readouterr()
    (row,) = json.loads(told.out)
    assert row["sequenceLength"] == 2048
    assert row["flopsPerToken"] == flops_per_token(PRESETS["deepseek-v3-tiny"], sequence_length=2048)
    assert "4096 tokens are cut to the positions of the model: deepseek-v3-tiny 2048" in told.err


def test_a_length_that_fits_is_kept_and_nothing_told(capsys: Captured) -> None:
    assert main(["deepseek-v3-tiny", "--sequence-length", "2048", "--json"]) == ExitCode.DONE

    told = capsys.readouterr()
    assert json.loads(told.out)[0]["sequenceLength"] == 2048
    assert told.err == ""


def test_of_all_presets_a_length_is_cut_where_it_must_and_told(capsys: Captured) -> None:
    assert main(["--sequence-length", "4096", "--json"]) == ExitCode.DONE

    told = capsys.readouterr()
    lengths = {row["preset"]: row["sequenceLength"] for row in json.loads(told.out)}
    assert lengths.keys() == PRESETS.keys()
    assert lengths["deepseek-v3-tiny"] == 2048
    assert lengths["deepseek-v3"] == 4096
    assert "deepseek-v3-tiny 2048" in told.err
    assert "deepseek-v3 " not in told.err.splitlines()[0]


def test_of_all_presets_those_that_would_be_refused_are_left_out_and_told(capsys: Captured) -> None:
    assert main(["--expert-parallel", "8", "--json"]) == ExitCode.DONE

    told = capsys.readouterr()
    shown = [row["preset"] for row in json.loads(told.out)]
    assert shown == [name for name in PRESETS if name != "transformer-5m"]
    assert "left out transformer-5m: --expert-parallel" in told.err


def test_what_every_preset_would_be_refused_is_said_once(capsys: Captured) -> None:
    assert main(["--precision", "fp8", "--gpu-product", "A100"]) == ExitCode.BAD_INPUT

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{', '.join(PRESETS)}: --precision")


def test_each_reason_is_a_line_with_all_that_it_refuses(capsys: Captured) -> None:
    asked = ["deepseek-v3-tiny", "transformer-5m", "moe-30m", "--expert-parallel", "3"]
    assert main(asked) == ExitCode.BAD_INPUT

    of_eight, of_processes, of_none = capsys.readouterr().err.splitlines()
    assert of_eight.startswith("deepseek-v3-tiny, moe-30m: ")
    assert "8 routed experts" in of_eight
    assert of_processes.startswith("deepseek-v3-tiny, transformer-5m, moe-30m: ")
    assert of_none.startswith("transformer-5m: ")


def test_states_that_fit_no_gpu_are_shown_with_what_a_job_would_be_refused(capsys: Captured) -> None:
    assert main(["deepseek-v3", "--gpu-product", "A100", "--json"]) == ExitCode.DONE

    told = capsys.readouterr()
    (row,) = json.loads(told.out)
    assert row["memoryPerRank"] > 2**40
    assert "such a GPU has 80.0 GiB" in row["insufficientMemory"]
    assert f"deepseek-v3: a job would be refused: {row['insufficientMemory']}" in told.err
    assert rows(capsys, "deepseek-v3-tiny")[0]["insufficientMemory"] is None
