"""Weights to start from: an export, held against its manifest, or a Hugging Face folder without one."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.layout import digest_in_uri, join_uri
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.folder import CONFIG, FolderError, HuggingFaceFolder, open_folder
from deepseek_workloads.export.load import ExportReader, open_export
from deepseek_workloads.export.safetensors_index import SafetensorsError
from deepseek_workloads.export.stored_numbers import numbers
from deepseek_workloads.model.hugging_face import from_hugging_face
from deepseek_workloads.plan.hugging_face_config import architecture_of
from deepseek_workloads.plan.vision_checkpoint import config_problems
from deepseek_workloads.store.interface import NotFound, ObjectInfo, ObjectStore


@dataclass(frozen=True)
class FolderReader:
    """As `ExportReader`, of a folder that says of itself only what safetensors do."""

    folder: HuggingFaceFolder

    @property
    def store(self) -> ObjectStore:
        return self.folder.store

    @property
    def uri(self) -> str:
        return self.folder.store.uri

    def architecture(self) -> Architecture:
        try:
            return architecture_of(self.folder.config)
        except ValueError as error:
            raise ExportError(f"{join_uri(self.uri, CONFIG)}: {error}") from error

    def weights(self) -> list[ObjectInfo]:
        return list(self.folder.weights)

    def checksums(self) -> dict[str, str]:
        """Nothing is recorded of its files that they could differ from."""
        return {}

    def state(self, architecture: Architecture) -> dict[str, Tensor]:
        """See `ExportReader.state`; raises ExportError and StoreErrors."""
        return from_hugging_face(self._tensors(), architecture)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        try:
            stored = self.folder.tensors()
        except SafetensorsError as error:
            raise ExportError(str(error)) from error
        for name, tensor in stored.items():
            rows = tensor.shape[0] if tensor.shape else 1
            wanted = [tensor.rows(0, rows)]
            if tensor.scales is not None:
                wanted.append(tensor.scale_rows(0, rows))
            yield name, numbers(tensor, *self.store.read_ranges(wanted)).view(tensor.shape)


def open_vision_checkpoint(store: ObjectStore, architecture: Architecture) -> FolderReader:
    """The Hugging Face ViT folder at `store.uri`, if it is the encoder of `architecture`. Raises ExportError
    and StoreErrors."""
    try:
        folder = open_folder(store)
    except FolderError as error:
        raise ExportError(str(error)) from error
    problems = list(config_problems(folder.config, architecture))
    if problems:
        raise ExportError(f"{join_uri(store.uri, CONFIG)}: {'; '.join(problems)}")
    return FolderReader(folder)


def open_initial_model(store: ObjectStore, *, recorded: str | None = None) -> ExportReader | FolderReader:
    """What lies at `store.uri`; a digest that is `recorded`, or that the URI ends with, is an export's.
    Raises ExportError and StoreErrors."""
    try:
        return open_export(store, recorded=recorded)
    except NotFound:
        if recorded is not None or digest_in_uri(store.uri) is not None:
            raise
    try:
        return FolderReader(open_folder(store))
    except FolderError as error:
        raise ExportError(str(error)) from error
