"""The command that continues a prompt with an exported model."""

from pathlib import Path

import pytest
import torch
from exported_model import Exported

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.export.generate import Sampling, choose, generate
from deepseek_workloads.export.sample import main
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.log import CommitLog


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main([*arguments, "--device", "cpu"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_export_continues_a_prompt(exported: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(
        capsys,
        "--uri",
        exported.export.uri,
        "--prompt",
        "内核 The kernel",
        "--max-tokens",
        "8",
        "--seed",
        "3",
    )

    assert code == 0
    assert text.startswith("内核 The kernel")
    assert len(text.strip()) > len("内核 The kernel")


def test_the_same_seed_gives_the_same_text_and_another_one_another(
    exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    def text(seed: int) -> str:
        return run(capsys, "--uri", exported.export.uri, "--prompt", "A node", "--seed", str(seed))[1]

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_the_storage_of_a_job_stands_for_its_newest_export(
    exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = CommitLog(exported.store).begin_epoch(run_config_digest=sha256_digest(b""))
    writer.commit_export(step=1, digest=exported.export.digest, prefix=exported.export.prefix)

    code, text, _ = run(capsys, "--uri", exported.store.uri, "--prompt", "A node", "--max-tokens", "4")

    assert (code, text.startswith("A node")) == (0, True)


def test_a_storage_without_an_export_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = run(capsys, "--uri", FileObjectStore(tmp_path).uri, "--prompt", "A")

    assert code == 3
    assert "neither an export nor the storage of a job" in error


@pytest.mark.parametrize(
    ("option", "value", "field"),
    [("--temperature", "-1", "temperature"), ("--top-p", "0", "top_p"), ("--max-tokens", "0", "max_tokens")],
)
def test_a_bad_setting_is_named(
    option: str, value: str, field: str, exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = run(capsys, "--uri", exported.export.uri, "--prompt", "A", option, value)

    assert code == 3
    assert error.startswith(f"{field}: ")


def test_generation_ends_where_the_positions_end(exported: Exported) -> None:
    limit = exported.architecture.max_position_embeddings
    prompt = [5] * (limit - 3)

    assert len(list(generate(exported.model, prompt, sampling=Sampling(max_tokens=100, temperature=0)))) == 3


def test_generation_ends_before_a_stop_token(exported: Exported) -> None:
    sampling = Sampling(max_tokens=5, temperature=0)
    first, *_ = generate(exported.model, [7, 8], sampling=sampling)

    assert list(generate(exported.model, [7, 8], sampling=sampling, stop=[first])) == []


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    generator = torch.Generator().manual_seed(0)

    drawn = {choose(logits, Sampling(temperature=1, top_p=0.75), generator) for _ in range(300)}

    assert drawn == {0, 1}


def test_temperature_zero_takes_the_most_probable_token() -> None:
    assert choose(torch.tensor([0.1, 2.0, 1.9]), Sampling(temperature=0), torch.Generator()) == 1
