"""A GPU is known by the product that its node's label or CUDA names."""

import pytest

from deepseek_workloads.plan.accelerators import ACCELERATORS, accelerator_of


@pytest.mark.parametrize(
    ("product", "gibibytes"),
    [
        ("NVIDIA-H100-80GB-HBM3", 80),
        ("NVIDIA H100 NVL", 94),
        ("NVIDIA-A100-SXM4-40GB", 40),
        ("NVIDIA A100 80GB PCIe", 80),
        ("NVIDIA-H20", 96),
        ("NVIDIA-H200", 141),
    ],
)
def test_the_memory_is_that_of_the_name_or_of_the_data_sheet(product: str, gibibytes: int) -> None:
    known = accelerator_of(product)
    assert known is not None
    assert known.memory_bytes == gibibytes * 2**30


@pytest.mark.parametrize("known", ACCELERATORS, ids=lambda known: known.name)
def test_every_entry_is_found_by_its_own_name(known) -> None:
    assert accelerator_of(f"NVIDIA {known.name}") == known


def test_another_makers_gpu_is_not_known() -> None:
    assert accelerator_of("Example-X1-80GB") is None
