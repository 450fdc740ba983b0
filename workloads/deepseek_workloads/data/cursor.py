"""The order of the training data: global sample index -> where its tokens lie.

A pure function of (seed, sources, manifests): the position in the data is one number, the samples consumed so
far, and it means the same for any number of workers. It does not read anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.records import DatasetManifest, Shard
from deepseek_workloads.contract.run_config import Data
from deepseek_workloads.contract.sample_order import place_in_order
from deepseek_workloads.data.difficulty import LEVELS, DifficultyStage, Levels
from deepseek_workloads.data.images import ImageIndex
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.mixture import Mixture, Stage
from deepseek_workloads.data.permutation import mix
from deepseek_workloads.data.selected_order import SelectedOrder
from deepseek_workloads.data.source_windows import Order, SourceWindows, in_stages
from deepseek_workloads.data.token_space import TokenSpace
from deepseek_workloads.data.window_order import WindowOrder
from deepseek_workloads.data.windows import FixedWindows, Offsets, Windows, pack

BLOCK_CHUNKS = (
    8  # chunks of a shard that are read together: 8 MiB of uint16 at the usual chunk of 512 Ki tokens
)
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """One window of one source. `sample_id` names the content: one number a window, in every epoch."""

    source: int
    epoch: int  # of the source
    window: int
    block: int
    sample_id: int


@dataclass(frozen=True)
class Samples:
    """Samples in their order, a column each: int64 [samples]."""

    source: Numbers
    ordinal: Numbers  # of the source: how many of its samples came before
    epoch: Numbers
    window: Numbers
    block: Numbers
    sample_id: Numbers

    def __len__(self) -> int:
        return len(self.source)

    def part(self, start: int, stop: int) -> "Samples":
        return Samples(
            self.source[start:stop],
            self.ordinal[start:stop],
            self.epoch[start:stop],
            self.window[start:stop],
            self.block[start:stop],
            self.sample_id[start:stop],
        )


@dataclass(frozen=True)
class DifficultyCurriculum:
    """Its stages, and of each source the levels of its training windows."""

    stages: tuple[DifficultyStage, ...]
    levels: tuple[Levels, ...]


@dataclass(frozen=True)
class DocumentStarts:
    """Of one source, as `document_offsets` reads them: its samples are packed from whole documents."""

    train: Offsets
    held_out: Offsets
    train_images: ImageIndex | None = None  # None: text alone
    held_out_images: ImageIndex | None = None


class SamplePlan:
    def __init__(
        self,
        data: Data,
        manifests: Sequence[DatasetManifest],
        documents: Sequence[DocumentStarts] | None = None,
        *,
        difficulty: DifficultyCurriculum | None = None,
    ) -> None:
        """One manifest for each source of `data`, in its order. With `documents`, one for each too, samples
        are whole documents, packed; without, windows of running text. With `difficulty` a stage takes the
        windows that are not above its threshold.

        Raises DatasetError where the sources cannot be mixed, or one holds less than one sample of a stage.
        """
        if len(manifests) != len(data.sources):
            raise ValueError(
                f"{len(manifests)} manifests for {len(data.sources)} sources: one each is needed"
            )
        _check_same_tokenizer(data, manifests)
        self.data = data
        self.manifests = tuple(manifests)
        self.sequence_length = data.sequence_length
        self.packed = documents is not None
        self.documents = tuple(documents) if documents is not None else ()
        self.image_shape = _image_shape(data, manifests) if self.packed else None
        self._mixture = _mixture(data, difficulty.stages if difficulty else ())
        self.sources = tuple(
            _source_windows(
                data,
                index,
                manifest,
                documents[index].train if documents else None,
                stages=self._stages(index, difficulty) if difficulty else None,
            )
            for index, manifest in enumerate(manifests)
        )
        self.held_out_windows = tuple(
            _windows(manifest.held_out, data, documents[index].held_out if documents else None)
            for index, manifest in enumerate(manifests)
        )
        self._first_ids = [0, *accumulate(source.order.windows for source in self.sources)]

    def locate(self, sample: int) -> Sample:
        """Constant time, whatever the index."""
        found = self.locate_many(np.array([sample]))
        return Sample(
            source=int(found.source[0]),
            epoch=int(found.epoch[0]),
            window=int(found.window[0]),
            block=int(found.block[0]),
            sample_id=int(found.sample_id[0]),
        )

    def locate_many(self, samples: Numbers) -> Samples:
        """`locate` of each of rising sample numbers: the time depends on how many there are only."""
        if len(samples) and samples[0] < 0:
            raise ValueError(f"sample {samples[0]}: must be 0 or more")
        return self.at_places(self._places(samples))

    def at_places(self, places: Numbers) -> Samples:
        """What lies at rising places of the order, those that `data.skip` leaves out among them."""
        source, ordinal = self._mixture.locate_many(places)
        epoch, window, block, sample_id = (np.empty_like(ordinal) for _ in range(4))
        for number in np.unique(source).tolist():
            chosen = source == number
            of_source = self.sources[number]
            epoch[chosen], window[chosen] = of_source.visited(ordinal[chosen])
            block[chosen] = window[chosen] // of_source.order.block_windows
            sample_id[chosen] = self._first_ids[number] + window[chosen]
        return Samples(source, ordinal, epoch, window, block, sample_id)

    def ordinals_before(self, sample: int) -> list[int]:
        """About how many samples of each source come before `sample`: exact where no block of the mixture
        is cut. Those that are skipped count."""
        return self._mixture.counts(place_in_order(sample, self.data.skip or ()))

    def _stages(self, source: int, difficulty: DifficultyCurriculum) -> list["_SourceStage"]:
        """Those that take a sample of the source, by the number of their first one: exact, as the mixture
        cuts no block there."""
        starts = [self._mixture.counts(stage.at_sample)[source] for stage in difficulty.stages]
        taken = [following > start for start, following in pairwise(starts)]
        return [
            _SourceStage(start, stage, difficulty.levels[source])
            for start, stage, is_taken in zip(starts, difficulty.stages, [*taken, True], strict=True)
            if is_taken
        ]

    def _places(self, samples: Numbers) -> Numbers:
        """`place_in_order` of each."""
        for skipped in self.data.skip or ():
            gap = skipped.to_sample - skipped.from_sample
            samples = np.where(samples >= skipped.from_sample, samples + gap, samples)
        return samples


def check_epochs(plan: SamplePlan, *, samples: int) -> None:
    """Whether a run of so many samples keeps to its sources' maxEpochs. Raises DatasetError."""
    given = plan.ordinals_before(samples)
    for source, windows, count in zip(plan.data.sources, plan.sources, given, strict=True):
        epochs = windows.epochs_of(count)
        which = "" if len(windows.stages) == 1 else ", for those that every stage of the curriculum takes"
        if source.max_epochs is not None and epochs > source.max_epochs:
            raise DatasetError(
                f"data source {source.name!r}: the run takes {count} samples of it, {epochs:.2f} epochs of "
                f"its {windows.order.windows}{which}: maxEpochs is {source.max_epochs:g}; train fewer steps, "
                "lower its weight, prepare more data, or raise maxEpochs",
                reasons.TOO_MANY_EPOCHS,
            )


@dataclass(frozen=True)
class _SourceStage:
    start: int  # number of its first sample of the source
    stage: DifficultyStage
    levels: Levels


def _mixture(data: Data, stages: Sequence[DifficultyStage]) -> Mixture:
    """Where a stage of the curriculum begins, the mixture begins anew with the weights that hold there."""
    weights = {0: [source.weight for source in data.sources]}
    weights |= {
        change.at_sample: [change.weights.get(source.name, 0.0) for source in data.sources]
        for change in data.mixture or ()
    }
    starts = sorted({*weights, *(stage.at_sample for stage in stages)})
    changes = [Stage(start, weights[max(at for at in weights if at <= start)]) for start in starts[1:]]
    return Mixture(weights[0], seed=mix(data.seed), changes=changes)


def _windows(shards: Sequence[Shard], data: Data, documents: Offsets | None) -> Windows:
    if documents is not None:
        return pack(documents, sequence_length=data.sequence_length)
    return FixedWindows(sum(shard.tokens for shard in shards), data.sequence_length)


def _source_windows(
    data: Data,
    index: int,
    manifest: DatasetManifest,
    documents: Offsets | None,
    *,
    stages: Sequence[_SourceStage] | None,
) -> SourceWindows:
    source = data.sources[index]
    space = TokenSpace(manifest.train)
    windows = _windows(manifest.train, data, documents)
    if windows.count < 1:
        raise DatasetError(
            f"data source {source.name!r}: {space.tokens} training tokens: one sample needs sequenceLength "
            f"+ 1 = {data.sequence_length + 1}; use a shorter sequenceLength or a larger dataset",
            reasons.EMPTY_DATASET,
        )
    chunk_tokens = max(shard.chunk_tokens for shard in manifest.train)
    order = WindowOrder(
        windows=windows.count,
        block_windows=max(1, BLOCK_CHUNKS * chunk_tokens // data.sequence_length),
        key=mix(data.seed, index),
    )
    orders: list[tuple[int, Order]] = [(0, order)]
    if stages is not None:
        orders = [(of_stage.start, _order_of(of_stage, order, source.name)) for of_stage in stages]
    return SourceWindows(source.name, space, order, windows, in_stages(orders))


def _order_of(of_stage: _SourceStage, order: WindowOrder, source: str) -> Order:
    stage, levels = of_stage.stage, of_stage.levels
    if stage.max_difficulty is None:
        return order
    if levels.min() > stage.max_level:
        raise DatasetError(
            f"data source {source!r}: training.curriculum: maxDifficulty {stage.max_difficulty:g}: none of "
            f"its {len(levels)} windows is so easy, the easiest has {(levels.min() + 1) / LEVELS:.4f}: raise "
            "it to that, or give the source no weight in the stage",
            reasons.EMPTY_DATASET,
        )
    return SelectedOrder(levels, max_level=stage.max_level, block_windows=order.block_windows, key=order.key)


def _image_shape(data: Data, manifests: Sequence[DatasetManifest]) -> tuple[int, int] | None:
    """Patches of an image and bytes of each; None where no source has images."""
    shapes = {
        source.name: manifest.images.shape
        for source, manifest in zip(data.sources, manifests, strict=True)
        if manifest.images is not None
    }
    if len(set(shapes.values())) > 1:
        said = ", ".join(
            f"{name!r} {count} patches of {size} bytes" for name, (count, size) in shapes.items()
        )
        raise DatasetError(
            f"data sources: {said}: all images of a job need one size and one patch size: prepare them alike"
        )
    return next(iter(shapes.values()), None)


def _check_same_tokenizer(data: Data, manifests: Sequence[DatasetManifest]) -> None:
    first = manifests[0].tokenizer_digest
    for source, manifest in zip(data.sources, manifests, strict=True):
        if manifest.tokenizer_digest != first:
            raise DatasetError(
                f"data source {source.name!r}: tokenizer {manifest.tokenizer_digest}: all sources of a job "
                f"need the tokenizer of the first ({data.sources[0].name!r}: {first}); "
                "prepare it with that tokenizer"
            )
