"""From a dataset's manifest to the windows of a source, and the order of each stage of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.records import DatasetManifest, Shard
from deepseek_workloads.contract.run_config import Data
from deepseek_workloads.data.difficulty import DifficultyStage, Levels, threshold_for
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.permutation import mix
from deepseek_workloads.data.selected_order import SelectedOrder
from deepseek_workloads.data.source_windows import Order, SourceWindows, in_stages
from deepseek_workloads.data.token_space import TokenSpace
from deepseek_workloads.data.window_order import WindowOrder
from deepseek_workloads.data.windows import FixedWindows, Offsets, Windows, pack, separate

BLOCK_CHUNKS = (
    8  # chunks of a shard that are read together: 8 MiB of uint16 at the usual chunk of 512 Ki tokens
)


@dataclass(frozen=True)
class DifficultyCurriculum:
    """Its stages, and of each source the levels of its training windows."""

    stages: tuple[DifficultyStage, ...]
    levels: tuple[Levels, ...]


@dataclass(frozen=True)
class SourceStage:
    start: int  # number of its first sample of the source
    stage: DifficultyStage
    levels: Levels


def split_windows(
    shards: Sequence[Shard], data: Data, documents: Offsets | None, *, separately: bool
) -> Windows:
    if documents is not None:
        of_documents = separate if separately else pack
        windows = of_documents(documents, sequence_length=data.sequence_length)
        return windows.without_cut() if data.long_conversations == "drop" else windows
    return FixedWindows(sum(shard.tokens for shard in shards), data.sequence_length)


def source_windows(
    data: Data,
    index: int,
    manifest: DatasetManifest,
    documents: Offsets | None,
    *,
    separately: bool,
    stages: Sequence[SourceStage] | None,
) -> SourceWindows:
    source = data.sources[index]
    space = TokenSpace(manifest.train)
    windows = split_windows(manifest.train, data, documents, separately=separately)
    if windows.count < 1:
        if documents is not None and len(documents) > 1:  # that are all dropped
            raise _all_too_long(source.name, documents, data.sequence_length)
        raise DatasetError(
            f"data source {source.name!r}: {space.tokens} training tokens: one sample needs sequenceLength "
            f"+ 1 = {data.sequence_length + 1}; use a shorter sequenceLength or a larger dataset",
            reasons.EMPTY_DATASET,
        )
    chunk_tokens = max(shard.chunk_tokens for shard in manifest.train)
    order = WindowOrder(
        windows=windows.count,
        block_windows=max(1, BLOCK_CHUNKS * chunk_tokens // _window_tokens(windows, space, separately)),
        key=mix(data.seed, index),
    )
    orders: list[tuple[int, Order]] = [(0, order)]
    if stages is not None:
        orders = [(of_stage.start, _order_of(of_stage, order, source.name)) for of_stage in stages]
    return SourceWindows(source.name, space, order, windows, in_stages(orders))


def _all_too_long(source: str, documents: Offsets, sequence_length: int) -> DatasetError:
    sizes = documents[1:] - documents[:-1]
    return DatasetError(
        f"data source {source!r}: all its {len(sizes)} training conversations are longer than "
        f"data.sequenceLength + 1 = {sequence_length + 1} tokens, and data.longConversations is drop: use a "
        f"sequenceLength of at least {int(sizes.min()) - 1}, or longConversations truncate",
        reasons.EMPTY_DATASET,
    )


def _window_tokens(windows: Windows, space: TokenSpace, separately: bool) -> int:
    """Of a window; the mean, where each is one document."""
    return -(-space.tokens // windows.count) if separately else windows.sequence_length


def _order_of(of_stage: SourceStage, order: WindowOrder, source: str) -> Order:
    stage, levels = of_stage.stage, of_stage.levels
    if stage.max_difficulty is None:
        return order
    easiest = int(levels.min())
    if easiest > stage.max_level:
        raise DatasetError(
            f"data source {source!r}: training.curriculum: maxDifficulty {stage.max_difficulty:g}: none of "
            f"its {len(levels)} windows is so easy, the easiest needs {threshold_for(easiest):.4f}: "
            "raise it to that, or give the source no weight in the stage",
            reasons.EMPTY_DATASET,
        )
    return SelectedOrder(levels, max_level=stage.max_level, block_windows=order.block_windows, key=order.key)
