"""Whether a service is possible, and what it then serves."""

from pydantic import ValidationError

from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.resources.serving import ServingTarget, serving_target
from deepseek_operator.resources.settings import BuildSettings
from deepseek_operator.validation.bounds import problems_of
from deepseek_operator.validation.model_revision import problems_with
from deepseek_operator.validation.training_job import no_image
from deepseek_workloads.plan.problem import Problem


def validate_service(service: DeepSeekModelService, *, worker_image: str) -> list[Problem]:
    """What can be said without a revision. Empty: the service is possible."""
    return [] if service.spec.image or worker_image else [no_image()]


def serving_target_of(
    service: DeepSeekModelService, revision: DeepSeekModelRevision, *, settings: BuildSettings
) -> ServingTarget | list[Problem]:
    """The target, or why this revision cannot be served."""
    problems = problems_with(revision)
    if problems:
        return problems
    try:
        return serving_target(service, revision, settings=settings)
    except ValidationError as error:
        return problems_of(error)
