"""One look at the model between steps: held-out figures, answers and continued prompts, measured, reported.

It decides nothing: when it happens is the loop's business, what follows from it nobody's.
"""

from deepseek_workloads.data.held_out import HeldOutReader
from deepseek_workloads.train.answers import score_answers
from deepseek_workloads.train.checkpoint import Position
from deepseek_workloads.train.evaluate import evaluate
from deepseek_workloads.train.opened import EvaluationSet
from deepseek_workloads.train.prompts import continue_prompts
from deepseek_workloads.train.reporting import Reporter
from deepseek_workloads.train.setup import Setup
from deepseek_workloads.train.stopwatch import Stopwatch


def assess(setup: Setup, position: Position, reporter: Reporter | None, watch: Stopwatch) -> dict[str, float]:
    """A collective. Returns `evaluate`'s figures; `reporter` is rank 0's."""
    if reporter is not None:
        reporter.phase("Evaluating")
    evaluation = setup.run.evaluation
    with watch.part("evaluation"):
        figures = evaluate(
            setup.model,
            setup.group,
            held_out=setup.data.held_out,
            micro_batch_size=setup.micro_batch_size,
            max_samples=evaluation.max_samples,
        )
        if evaluation.answers is not None:
            figures |= _answered(setup, setup.data.held_out, evaluation.answers)
        for of_set in setup.data.evaluated:
            figures |= _of_set(setup, of_set)
        texts = _continued(setup) if evaluation.prompts else {}
    if reporter is not None:
        reporter.evaluation(position, figures, texts)
    return figures


def _of_set(setup: Setup, of_set: EvaluationSet) -> dict[str, float]:
    """Named NAME/loss, NAME/bits_per_byte and so on."""
    evaluation = setup.run.evaluation
    figures = evaluate(
        setup.model,
        setup.group,
        held_out=of_set.held_out,
        micro_batch_size=setup.micro_batch_size,
        max_samples=evaluation.max_samples,
    )
    if evaluation.answers is not None:
        figures |= _answered(setup, of_set.held_out, evaluation.answers)
    return {f"{of_set.name}/{name.removeprefix('held_out_')}": value for name, value in figures.items()}


def _answered(setup: Setup, held_out: HeldOutReader, conversations: int) -> dict[str, float]:
    return score_answers(
        setup.model,
        setup.group,
        held_out=held_out,
        tokenizer_document=setup.group.on_rank_zero(setup.data.tokenizer_document),
        conversations=conversations,
    )


def _continued(setup: Setup) -> dict[str, str]:
    return continue_prompts(
        setup.model,
        setup.group,
        tokenizer_document=setup.group.on_rank_zero(setup.data.tokenizer_document),
        eos_token_id=setup.data.plan.manifests[0].eos_token_id,
        prompts=setup.run.evaluation.prompts,
    )
