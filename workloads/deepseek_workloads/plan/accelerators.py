"""What GPUs can do by their data sheets: products a second, memory, and bytes a second to their neighbours.
Pure."""

import re
from dataclasses import dataclass, replace
from typing import Final

_MEMORY: Final = re.compile(r"\b(\d+)GB\b")  # of a product's name
GPUS_PER_NODE: Final = 8  # that NVLink joins
LARGEST_MEMORY: Final = 288 * 2**30  # bytes of any GPU of today


@dataclass(frozen=True)
class Accelerator:
    name: str  # as CUDA and the label nvidia.com/gpu.product have it, within a longer one
    memory_gib: int  # where the product's name does not say it
    bf16_flops: float  # a second, dense
    fp32_flops: float  # a second, outside of tensor cores: torch rounds no float32 to TF32 unasked
    link_bytes: float  # a second and direction, to the GPUs of its node
    network_bytes: float = 50e9  # a second and direction, to other nodes: 400 Gbit/s a GPU
    float8: bool = True  # with a scale a row, as precision fp8 multiplies: compute capability 9.0 and later

    @property
    def memory_bytes(self) -> int:
        return self.memory_gib * 2**30

    def flops(self, precision: str) -> float:
        """A second, of products in this precision of a run config; without float8 as in bf16."""
        if precision == "fp32":
            return self.fp32_flops
        return self.bf16_flops * (2 if precision == "fp8" and self.float8 else 1)


# Without sparsity, from NVIDIA's data sheets. The first whose name fits is meant.
ACCELERATORS: Final = (
    Accelerator("GB200", 186, 2.5e15, 8.0e13, 900e9),
    Accelerator("B200", 180, 2.25e15, 7.5e13, 900e9),
    Accelerator("H200", 141, 9.89e14, 6.7e13, 450e9),
    Accelerator("H100 PCIe", 80, 7.56e14, 5.1e13, 64e9),
    Accelerator("H100 NVL", 94, 8.35e14, 6.0e13, 300e9),
    Accelerator("H100", 80, 9.89e14, 6.7e13, 450e9),
    Accelerator("H800", 80, 9.89e14, 6.7e13, 200e9),
    Accelerator("H20 3e", 141, 1.48e14, 4.4e13, 450e9),
    Accelerator("H20", 96, 1.48e14, 4.4e13, 450e9),
    Accelerator("A100", 80, 3.12e14, 1.95e13, 300e9, 25e9, float8=False),
    Accelerator("A800", 80, 3.12e14, 1.95e13, 200e9, 25e9, float8=False),
    Accelerator("L40S", 48, 3.62e14, 9.16e13, 32e9, 25e9, float8=False),
)


def accelerator_of(product: str) -> Accelerator | None:
    """From a name of CUDA's ("NVIDIA H100 80GB HBM3") or of the node label (with dashes); None: not known."""
    name = product.replace("-", " ")
    known = next((known for known in ACCELERATORS if known.name in name), None)
    size = _MEMORY.search(name)
    return replace(known, memory_gib=int(size.group(1))) if known is not None and size else known
