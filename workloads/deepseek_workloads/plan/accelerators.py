"""What GPUs can do by their data sheets: products a second, and bytes a second to their neighbours. Pure."""

from dataclasses import dataclass
from typing import Final

GPUS_PER_NODE: Final = 8  # that NVLink joins
# Of the dense bf16 rate; float32 as TF32.
_OF_BF16: Final = {"fp8": 2.0, "bf16": 1.0, "fp16": 1.0, "fp32": 0.5}


@dataclass(frozen=True)
class Accelerator:
    name: str  # as CUDA and the label nvidia.com/gpu.product have it, within a longer one
    bf16_flops: float  # a second, dense
    link_bytes: float  # a second and direction, to the GPUs of its node
    network_bytes: float = 50e9  # a second and direction, to other nodes: 400 Gbit/s a GPU

    def flops(self, precision: str) -> float:
        return self.bf16_flops * _OF_BF16[precision]


# Without sparsity, from NVIDIA's data sheets. The first whose name fits is meant.
ACCELERATORS: Final = (
    Accelerator("GB200", 2.5e15, 900e9),
    Accelerator("B200", 2.25e15, 900e9),
    Accelerator("H200", 9.89e14, 450e9),
    Accelerator("H100 PCIe", 7.56e14, 64e9),
    Accelerator("H100", 9.89e14, 450e9),
    Accelerator("H800", 9.89e14, 200e9),
    Accelerator("H20", 1.48e14, 450e9),
    Accelerator("A100", 3.12e14, 300e9, 25e9),
    Accelerator("A800", 3.12e14, 200e9, 25e9),
    Accelerator("L40S", 3.62e14, 32e9, 25e9),
)


def accelerator_of(product: str) -> Accelerator | None:
    """From a name of CUDA's ("NVIDIA H100 80GB HBM3") or of the node label (with dashes); None: not known."""
    name = product.replace("-", " ")
    return next((known for known in ACCELERATORS if known.name in name), None)
