"""python -m deepseek_workloads.plan [PRESET ...] [--set moe.nRoutedExperts=16] [--gpus 8 --zero-stage 3]
python -m deepseek_workloads.plan --hugging-face config.json

What a model costs before anything is bought: parameters, FLOPs a token, memory of a rank in a layout, and
the smallest pool of GPUs that fits. Without a preset: all of them. A job's `status.plan` says the same of it.
Of the config.json of a Hugging Face folder also the `spec.model` with which a job starts from that folder.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.plan.accelerators import ACCELERATORS, accelerator_of
from deepseek_workloads.plan.architecture import ArchitectureRefused, resolve
from deepseek_workloads.plan.estimate import (
    active_parameters,
    flops_per_image,
    flops_per_token,
    parameters,
)
from deepseek_workloads.plan.hugging_face_config import architecture_of, class_of
from deepseek_workloads.plan.layout import data_parallel_layout
from deepseek_workloads.plan.memory import COMPUTE_BYTES, estimate_memory
from deepseek_workloads.plan.model_spec import model_spec
from deepseek_workloads.plan.nearest import divisors_near, either
from deepseek_workloads.plan.pool import GIB, GPU_MEMORY_BYTES, smallest_pool
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.problem import Problem
from deepseek_workloads.plan.rules import check_architecture
from deepseek_workloads.plan.step_time import Pass, tokens_per_second

_COLUMNS = ("preset", "parameters", "active", "FLOPs/token", "memory/rank", "smallest pool", "exported as")
_PACE = "estimatedTokensPerSecondAndGpu"


def main(argv: Sequence[str]) -> int:
    options = _parse(argv)
    try:
        _check_layout(options)
        overrides = _overrides(options.set)
        if options.hugging_face is not None:
            return _of_folder(options)
        rows = [_row(name, resolve(name, overrides), options) for name in options.presets or PRESETS]
    except (ArchitectureRefused, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return ExitCode.BAD_INPUT
    _print(rows, options)
    return ExitCode.DONE


def _of_folder(options: argparse.Namespace) -> int:
    """Raises ValueError, OSError and ArchitectureRefused."""
    config = json.loads(Path(options.hugging_face).read_text())
    architecture = architecture_of(config)
    row = _row(str(config["model_type"]), architecture, options)
    spec = model_spec(architecture)
    if options.json:
        print(json.dumps({**row, "model": spec}, indent=2))
        return ExitCode.DONE
    print(yaml.safe_dump({"model": {**spec, "initFrom": {"storageUri": "s3://..."}}}, sort_keys=False))
    _print([row], options)
    return ExitCode.DONE


def _print(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(
        f"{options.sequence_length} tokens a sequence, {options.precision}; a rank of {options.gpus}, ",
        end="",
    )
    among = f", expertParallelDegree {options.expert_parallel}" if options.expert_parallel > 1 else ""
    print(f"zeroStage {options.zero_stage}{among}; GPUs of {_gpu_memory(options) / GIB:g} GiB")
    columns = (*_COLUMNS, "tokens/s/GPU") if options.gpu_product else _COLUMNS
    for line in _table([columns, *(_words(row) for row in rows)]):
        print(line)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deepseek_workloads.plan", description=__doc__)
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=", ".join(PRESETS))
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of spec.model.architecture, e.g. numHiddenLayers=6",
    )
    parser.add_argument(
        "--hugging-face", metavar="CONFIG_JSON", help="of a folder of another maker, in place of presets"
    )
    parser.add_argument("--sequence-length", type=int, default=4096, help="at most the model's positions")
    parser.add_argument("--micro-batch-size", type=int, default=1, help="sequences of a pass")
    parser.add_argument("--gpus", type=int, default=8, help="ranks of the layout whose memory is shown")
    parser.add_argument("--zero-stage", type=int, choices=(0, 1, 2, 3), default=3)
    parser.add_argument("--precision", choices=tuple(COMPUTE_BYTES), default="bf16")
    parser.add_argument("--gpu-memory", type=float, help="GiB of a GPU; without it, of --gpu-product, or 80")
    parser.add_argument(
        "--gpu-product", choices=[known.name for known in ACCELERATORS], help="adds estimated tokens a second"
    )
    parser.add_argument(
        "--expert-parallel", type=int, default=1, help="GPUs that share a layer's experts, of --gpus"
    )
    parser.add_argument("--json", action="store_true", help="numbers, for programs")
    return parser.parse_args(argv)


def _check_layout(options: argparse.Namespace) -> None:
    """Raises ValueError."""
    for name in ("gpus", "expert_parallel", "micro_batch_size", "sequence_length"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)}: must be at least 1")
    if options.gpus % options.expert_parallel:
        raise ValueError(
            f"--expert-parallel {options.expert_parallel}: must divide --gpus {options.gpus}, of which it is "
            f"a share; use {either(divisors_near(options.gpus, options.expert_parallel))}"
        )


def _gpu_memory(options: argparse.Namespace) -> float:
    """Bytes of a GPU."""
    if options.gpu_memory is not None:
        return float(options.gpu_memory) * GIB
    gpu = accelerator_of(options.gpu_product or "")
    return gpu.memory_bytes if gpu else GPU_MEMORY_BYTES


def _overrides(settings: Sequence[str]) -> dict[str, Any]:
    """`moe.nGroup=4` -> {"moe": {"nGroup": "4"}}. Raises ValueError."""
    overrides: dict[str, Any] = {}
    for setting in settings:
        path, separator, value = setting.partition("=")
        if not separator:
            raise ValueError(f"--set {setting}: must be FIELD=VALUE, e.g. moe.nRoutedExperts=16")
        *parents, name = path.split(".")
        inner = overrides
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = None if value == "null" else value
    return overrides


def _row(name: str, architecture: Architecture, options: argparse.Namespace) -> dict[str, Any]:
    """Raises ArchitectureRefused."""
    problems: list[Problem] = check_architecture(architecture)
    if problems:
        raise ArchitectureRefused(problems)
    length = min(options.sequence_length, architecture.max_position_embeddings)
    return {
        "preset": name,
        "parameters": parameters(architecture),
        "activeParameters": active_parameters(architecture),
        "flopsPerToken": flops_per_token(architecture, sequence_length=length),
        "flopsPerImage": flops_per_image(architecture),
        "memoryPerRank": _memory_of_rank(architecture, length, options),
        "smallestGpuPool": _pool(architecture, length, options),
        **_pace(architecture, length, options),
        "exportedAs": class_of(architecture),
    }


def _pace(architecture: Architecture, length: int, options: argparse.Namespace) -> dict[str, int]:
    """Of a GPU in a step of one pass, where its product was named."""
    gpu = accelerator_of(options.gpu_product or "")
    if gpu is None:
        return {}
    work = Pass(length, options.micro_batch_size, passes=1, expert=_expert_degree(architecture, options))
    rate = tokens_per_second(architecture, work, precision=options.precision, gpu=gpu)
    return {_PACE: round(rate)}


def _expert_degree(architecture: Architecture, options: argparse.Namespace) -> int:
    """1 where there are no experts. Raises ValueError."""
    degree: int = options.expert_parallel
    experts = architecture.routed_experts
    if experts % degree:
        raise ValueError(
            f"--expert-parallel {degree}: must divide the {experts} routed experts; use "
            f"{either(divisors_near(experts, degree))}"
        )
    return degree if experts else 1


def _memory_of_rank(architecture: Architecture, length: int, options: argparse.Namespace) -> int:
    return estimate_memory(
        architecture,
        zero_stage=options.zero_stage,
        layout=replace(
            data_parallel_layout(options.gpus, zero_stage=options.zero_stage),
            expert=_expert_degree(architecture, options),
        ),
        precision=options.precision,
        micro_batch_size=options.micro_batch_size,
        sequence_length=length,
        gpu=True,
    ).total


def _pool(architecture: Architecture, length: int, options: argparse.Namespace) -> str:
    pool = smallest_pool(
        architecture,
        sequence_length=length,
        precision=options.precision,
        gpu_memory_bytes=int(_gpu_memory(options)),
    )
    return "none" if pool is None else str(pool)


def _words(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["preset"],
        _short(row["parameters"]),
        _short(row["activeParameters"]),
        _short(row["flopsPerToken"]),
        f"{row['memoryPerRank'] / GIB:.1f} GiB",
        row["smallestGpuPool"],
        row["exportedAs"],
        *((f"{row[_PACE]:,}",) if _PACE in row else ()),
    )


def _short(number: int) -> str:
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
