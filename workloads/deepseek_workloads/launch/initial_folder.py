"""Whether the weights of a Hugging Face folder are a model's own and numbers, before a GPU waits for them."""

from collections.abc import Iterator

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.export.folder import HuggingFaceFolder, not_finite
from deepseek_workloads.export.safetensors_index import SafetensorsError
from deepseek_workloads.plan.stored_tensors import compare
from deepseek_workloads.plan.tensors import buffer_shapes, parameter_shapes

# Folders up to this size are read whole; of larger ones the ranks find what is no number while they load,
# side by side, and before the first step.
READ_WHOLE_BYTES = 8 * 2**30
_NAMED = 8  # tensors in a message


def folder_problems(
    folder: HuggingFaceFolder,
    architecture: Architecture,
    *,
    theirs: Architecture,
    read_weights: bool = True,
) -> Iterator[str]:
    """`architecture` of the model that is to take the weights; `read_weights`: whether it will. Raises
    StoreErrors."""
    try:
        tensors = folder.tensors()
    except SafetensorsError as error:
        yield str(error)
        return
    expected = parameter_shapes(architecture) | buffer_shapes(architecture)
    stored = {name: tensor.shape for name, tensor in tensors.items()}
    found = compare(
        stored,
        expected,
        architecture=architecture,
        theirs=theirs,
    )
    if found.problem:
        yield (
            f"{folder.store.uri}: its tensors are not those that its config.json tells of: {found.problem}: "
            "copy the whole folder, or name another one"
        )
        return
    if not read_weights or sum(file.size for file in folder.weights) > READ_WHOLE_BYTES:
        return
    taken = {name: tensors[name] for name in found.places}
    if wrong := list(not_finite(folder.store, taken)):
        yield (
            f"{folder.store.uri}: {len(wrong)} tensors hold NaN or infinite numbers: "
            f"{', '.join(wrong[:_NAMED])}: it was saved after its training had failed: name another one"
        )
