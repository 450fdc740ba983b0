"""Over two gloo ranks, sharded or replicated, the model has the weights and gradients of one process."""

from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from gloo_layouts import ARCHITECTURE, LAYOUTS, RANKS, export_to, made, of_rank

from deepseek_workloads.contract.records import Provenance
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.randint(ARCHITECTURE.vocab_size, (4, 25), generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def seen(
    tmp_path_factory: pytest.TempPathFactory, ids: torch.Tensor, provenance: Provenance
) -> dict[str, dict]:
    directory: Path = tmp_path_factory.mktemp("layouts")
    export_to(str(directory), provenance)
    multiprocessing.spawn(of_rank, args=(str(directory), ids), nprocs=RANKS)
    return torch.load(directory / "seen.pt", weights_only=True)


@pytest.fixture(scope="module")
def single(ids: torch.Tensor) -> DeepseekV3ForCausalLM:
    model = made()
    model.loss(ids).loss.backward()
    return model


every_layout = pytest.mark.parametrize("layout", LAYOUTS)


@every_layout
def test_first_weights_are_those_of_one_process(
    layout: str, seen: dict, single: DeepseekV3ForCausalLM
) -> None:
    torch.testing.assert_close(
        seen[layout]["weights"],
        {name: value.detach() for name, value in single.named_parameters()},
        atol=0,
        rtol=0,
    )


def test_weights_that_are_streamed_into_shards_are_those_of_the_export(
    seen: dict, single: DeepseekV3ForCausalLM
) -> None:
    torch.testing.assert_close(
        seen["streamed"]["weights"],
        {name: value.detach() for name, value in single.named_parameters()},
        atol=0,
        rtol=0,
    )


@every_layout
def test_gradients_are_those_of_one_process(layout: str, seen: dict, single: DeepseekV3ForCausalLM) -> None:
    tolerance = {"atol": 2e-3, "rtol": 0.1} if "bfloat16" in layout else {"atol": 1e-7, "rtol": 1e-4}

    for name, parameter in single.named_parameters():
        torch.testing.assert_close(
            seen[layout]["gradients"][name],
            parameter.grad,
            **tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "bfloat16" not in name])
def test_expert_counts_add_up_to_those_of_one_process(
    layout: str, seen: dict, single: DeepseekV3ForCausalLM, ids: torch.Tensor
) -> None:
    assert torch.equal(seen[layout]["counts"], single.loss(ids).expert_counts)
