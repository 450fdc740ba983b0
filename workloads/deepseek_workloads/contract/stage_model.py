"""A model that a stage works with, as a run names it. Types only."""

from deepseek_workloads.contract.wire import WireModel


class StageModel(WireModel):
    """A model that a stage works with."""

    uri: str  # of its folder, or its file, on the sources' store
