"""The immutable ConfigMap of one cluster of a service: what its pods read, and what they are made from."""

from typing import Final

from deepseek_operator.api.schema import GROUP
from deepseek_operator.resources.metadata import Document
from deepseek_operator.resources.names import ResourceName
from deepseek_operator.resources.run_objects import RunConfigMissing, build_run_config_map
from deepseek_operator.resources.serving import PodTemplate
from deepseek_workloads.contract.run_config import ServingRun

POD_TEMPLATE_KEY: Final = "pod-template.json"  # read by the operator alone
ANNOTATION_TEMPLATE_HASH: Final = f"{GROUP}/template-hash"


def build_serving_config_map(
    resource: ResourceName, *, run: ServingRun, template: PodTemplate, template_hash: str
) -> Document:
    document = build_run_config_map(resource, run)
    annotations = {ANNOTATION_TEMPLATE_HASH: template_hash}
    data = document["data"] | {POD_TEMPLATE_KEY: template.to_json().decode()}
    return document | {"metadata": document["metadata"] | {"annotations": annotations}, "data": data}


def pod_template_of(config_map: Document) -> PodTemplate:
    """Raises RunConfigMissing, and pydantic.ValidationError for one of another release."""
    try:
        content = config_map["data"][POD_TEMPLATE_KEY]
    except (KeyError, TypeError) as error:
        name = config_map["metadata"]["name"]
        raise RunConfigMissing(
            f"ConfigMap {name}: has no {POD_TEMPLATE_KEY}; delete it, and it is made again"
        ) from error
    return PodTemplate.model_validate_json(content)


def template_hash_of(config_map: Document) -> str:
    return str((config_map["metadata"].get("annotations") or {}).get(ANNOTATION_TEMPLATE_HASH, ""))
