"""Whether a run's image encoder and projector get weights that are of use, before a GPU waits for them: a
Hugging Face ViT folder's, or random ones that may learn."""

from collections.abc import Iterator

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.layout import join_uri
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.export.folder import CONFIG, FolderError, not_finite, open_folder
from deepseek_workloads.export.safetensors_index import SafetensorsError
from deepseek_workloads.launch.initial_folder import READ_WHOLE_BYTES
from deepseek_workloads.plan.vision_checkpoint import compare_vision, config_problems
from deepseek_workloads.store.interface import ObjectStore

_NAMED = 8  # tensors in a message


def initial_vision_problems(
    architecture: Architecture, store: ObjectStore, *, read_weights: bool = True
) -> Iterator[str]:
    """`store` is at the folder; `read_weights`: whether its numbers are looked at. Raises StoreErrors."""
    try:
        folder = open_folder(store)
        different = list(config_problems(folder.config, architecture))
        if different:
            yield (
                f"{join_uri(store.uri, CONFIG)}: {'; '.join(different)}: set spec.model.vision to its "
                "values, or name another folder"
            )
            return
        tensors = folder.tensors()
    except (FolderError, SafetensorsError) as error:
        yield str(error)
        return
    found = compare_vision({name: tensor.shape for name, tensor in tensors.items()}, architecture)
    if found.problem:
        yield (
            f"{store.uri}: its tensors are not those that its config.json tells of: {found.problem}: copy "
            "the whole folder, or name another one"
        )
        return
    if not read_weights or sum(file.size for file in folder.weights) > READ_WHOLE_BYTES:
        return
    if wrong := list(not_finite(store, {name: tensors[name] for name in found.places})):
        yield (
            f"{store.uri}: {len(wrong)} tensors hold NaN or infinite numbers: {', '.join(wrong[:_NAMED])}: "
            "it was saved after its training had failed: name another one"
        )


def kept_random(run: TrainingRun, uri: str) -> Iterator[str]:
    """Of a run from the model at `uri`, which sees nothing: parts that begin at random and may not learn."""
    if run.architecture.vision is None:
        return
    if run.training.lora is not None:
        yield (
            f"{uri}: has no projector, and spec.training.lora would keep a random one as it is: train one "
            "first (spec.training.freeze: [visionTower, languageModel]), and start from its export"
        )
    random = {"projector", *(["visionTower"] if run.vision_init_from is None else [])}
    if named := sorted(random.intersection(run.training.freeze or [])):
        yield (
            f"{uri}: has no {' and '.join(named)}, which spec.training.freeze would keep random: leave it "
            "out of freeze, or start from a model that sees"
        )
