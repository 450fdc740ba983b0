"""How many nodes a training job is to have now, and the run config of that size. Pure.

The pinned run config has the number that the job began with; `status.nodes` the one that was decided on last.
"""

from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.status.observed import Size
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.rules import check_training


def size_of(job: DeepSeekTrainingJob, pinned: TrainingRun) -> Size:
    """What the spec asks for. A number that the rules refuse changes nothing; what they refuse of the present
    one, too, has become stricter since the run began, and does not stand against another."""
    began, wanted = pinned.workers.num_nodes, job.spec.workers.num_nodes
    present = job.status.nodes or began
    if wanted == present:
        return Size(present, pinned=began)
    accepted = check_training(run_of_size(pinned, present))
    problems = [each for each in check_training(run_of_size(pinned, wanted)) if each not in accepted]
    return Size(present if problems else wanted, pinned=began, problems=tuple(problems))


def run_of_size(pinned: TrainingRun, nodes: int) -> TrainingRun:
    """The same run on so many nodes: nothing else of it depends on them."""
    sized = {"num_nodes": nodes, "min_nodes": min(pinned.workers.min_nodes, nodes)}
    return pinned.model_copy(update={"workers": pinned.workers.model_copy(update=sized)})
