"""python -m deepseek_workloads.plan [PRESET ...] [--set moe.nRoutedExperts=16] [--gpus 8 --zero-stage 3]
python -m deepseek_workloads.plan deepseek-v3-16b --gpus 64 --tensor-parallel 2 --pipeline-parallel 4
python -m deepseek_workloads.plan --hugging-face config.json

What a model costs before anything is bought: parameters, FLOPs a token, memory of a rank in a layout, and
the smallest pool of GPUs that fits. Without a preset: all of them. A job's `status.plan` says the same of it,
and what a job would be refused is refused here; that it does not fit the layout's GPUs is told.
Of the config.json of a Hugging Face folder also the `spec.model` with which a job starts from that folder.
"""

import json
import sys
from collections.abc import Mapping, Sequence

import yaml

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.plan.command.answer import Answer, answer, for_programs, remarks, table
from deepseek_workloads.plan.command.arguments import Asked, parse
from deepseek_workloads.plan.command.models import models_of
from deepseek_workloads.plan.command.run import RunRefused, planned
from deepseek_workloads.plan.model_spec import model_spec


def main(argv: Sequence[str]) -> int:
    """The exit code. Figures go to standard output; remarks, and what is refused, to standard error."""
    try:
        asked = parse(argv, description=__doc__)
        models = models_of(asked)
    except (ValueError, OSError) as error:  # ArchitectureRefused, too
        print(error, file=sys.stderr)
        return ExitCode.BAD_INPUT
    answers, refused = _answers(models, asked)
    if not answers or (asked.named and refused):
        print(*(f"{', '.join(names)}: {why}" for why, names in refused.items()), sep="\n", file=sys.stderr)
        return ExitCode.BAD_INPUT
    _print(answers, models, asked)
    for why, names in refused.items():
        print(f"left out {', '.join(names)}: {why}", file=sys.stderr)
    for remark in remarks(answers, asked):
        print(remark, file=sys.stderr)
    return ExitCode.DONE


def _answers(models: Mapping[str, Architecture], asked: Asked) -> tuple[list[Answer], dict[str, list[str]]]:
    """Of what no rule refuses; the names of the others, by each reason."""
    answers: list[Answer] = []
    refused: dict[str, list[str]] = {}
    for name, architecture in models.items():
        try:
            answers.append(answer(name, planned(architecture, asked), asked))
        except RunRefused as error:
            for why in error.reasons:
                refused.setdefault(why, []).append(name)
    return answers, refused


def _print(answers: Sequence[Answer], models: Mapping[str, Architecture], asked: Asked) -> None:
    rows = [for_programs(answer) for answer in answers]
    spec = model_spec(models[answers[0].name]) if asked.hugging_face is not None else None
    if asked.json:
        print(json.dumps(rows if spec is None else {**rows[0], "model": spec}, indent=2))
        return
    if spec is not None:
        print(yaml.safe_dump({"model": {**spec, "initFrom": {"storageUri": "s3://..."}}}, sort_keys=False))
    print(*table(answers, asked), sep="\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
