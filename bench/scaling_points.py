"""The lines of `make bench-scaling` as points for the plan's model of step time. Pure.

A core stands for a GPU whose peak is that of its own products, and the loopback for the link between GPUs.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from step_time_points import Known
from training_step import MODELS

from deepseek_workloads.plan.accelerators import Accelerator
from deepseek_workloads.plan.step_time import Pass

CORE, LINK, ALONE = "core-fp32", "link", "alone"  # of the lines' points
_SEQUENCES: Final = 4
_PROCESSES: Final = {ALONE: (1, 1), "ddp-2": (2, 1), "fsdp2-2": (2, 1), "ep-2": (2, 2)}  # and sharing experts


def points_of(lines: Iterable[str]) -> list[Known]:
    """Raises ValueError where the machine's own lines are missing."""
    values: dict[str, float] = {}
    for line in lines:
        document: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
        if document.get("bench") == "scaling":
            values[document["point"]] = document["value"]
    if CORE not in values or LINK not in values:
        raise ValueError(f"no lines {CORE} and {LINK} of bench scaling: write them with make bench-scaling")
    core = Accelerator(
        "core",
        memory_gib=0,  # nobody asks
        bf16_flops=values[CORE] * 1e9,  # likewise: the rates are of float32
        fp32_flops=values[CORE] * 1e9,
        link_bytes=values[LINK] * 1e9,
        network_bytes=values[LINK] * 1e9,
    )
    return [known for name, value in values.items() for known in _point(name, value, core)]


def model_of(point: Known) -> str:
    return point.name.partition("-")[0]


def _point(name: str, value: float, core: Accelerator) -> Sequence[Known]:
    model, _, rest = name.partition("-")
    length, _, rest = rest.partition("-")
    precision, _, layout = rest.partition("-")
    if model not in MODELS or layout not in _PROCESSES:
        return ()
    processes, sharing = _PROCESSES[layout]
    work = Pass(int(length), _SEQUENCES, passes=1, expert=sharing)
    return (Known(name, MODELS[model], core, work, value / processes, precision),)
