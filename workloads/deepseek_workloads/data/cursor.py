"""The order of the training data: global sample index -> where its tokens lie.

A pure function of (seed, sources, manifests): the position in the data is one number, the samples consumed so
far, and it means the same for any number of workers. It does not read anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.records import DatasetManifest
from deepseek_workloads.contract.run_config import Data
from deepseek_workloads.contract.sample_order import place_in_order
from deepseek_workloads.data.difficulty import DifficultyStage
from deepseek_workloads.data.images import ImageIndex
from deepseek_workloads.data.length_buckets import padded_length, rearranged, stretch_batches
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.mixture import Mixture, Stage
from deepseek_workloads.data.permutation import mix
from deepseek_workloads.data.samples import Numbers, Sample, Samples, epochs_begun, joined
from deepseek_workloads.data.source_plan import (
    DifficultyCurriculum,
    SourceStage,
    source_windows,
    split_windows,
)
from deepseek_workloads.data.windows import Offsets, PackedWindows


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
        bucketed: int | None = None,
    ) -> None:
        """One manifest for each source of `data`, in its order. With `documents`, one for each too, samples
        are whole documents, packed; without, windows of running text. With `difficulty` a stage takes the
        windows that are not above its threshold. `bucketed`: a sample is one document, and this many that
        follow each other, from a multiple on, are of similar length.

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
        self.bucketed = bucketed
        self._stretches: dict[int, Samples] = {}  # the newest
        self.documents = tuple(documents) if documents is not None else ()
        self.image_shape = _image_shape(data, manifests) if self.packed else None
        self._mixture = _mixture(data, difficulty.stages if difficulty else ())
        self.sources = tuple(
            source_windows(
                data,
                index,
                manifest,
                documents[index].train if documents else None,
                separately=bucketed is not None,
                stages=self._stages(index, difficulty) if difficulty else None,
            )
            for index, manifest in enumerate(manifests)
        )
        self.held_out_windows = tuple(
            split_windows(
                manifest.held_out,
                data,
                documents[index].held_out if documents else None,
                separately=bucketed is not None,
            )
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
        return self._in_turn(places) if self.bucketed is None else self._by_length(places, self.bucketed)

    def row_length(self, samples: Samples) -> int:
        """Of rows that hold the longest of these: T, and less where a sample is one document."""
        if self.bucketed is None:
            return self.sequence_length
        return padded_length(int(self._lengths(samples).max()), most=self.sequence_length)

    def tokens_of(self, samples: Samples) -> int:
        """That the model sees, without padding where a sample is one document."""
        if self.bucketed is None:
            return len(samples) * self.sequence_length
        return int(self._lengths(samples).sum())

    def _lengths(self, samples: Samples) -> Numbers:
        """Tokens of each that the model sees; of samples that are one document each."""
        lengths = np.empty(len(samples), dtype=np.int64)
        for number in np.unique(samples.source).tolist():
            windows, of_source = self.sources[number].windows, samples.source == number
            assert isinstance(windows, PackedWindows)
            lengths[of_source] = windows.sizes(samples.window[of_source]) - 1
        return lengths

    def _by_length(self, places: Numbers, batch_size: int) -> Samples:
        stretches, offsets = np.divmod(places, batch_size * stretch_batches(batch_size))
        found = [
            self._stretch(stretch, batch_size).take(offsets[stretches == stretch])
            for stretch in np.unique(stretches).tolist()
        ]
        return found[0] if len(found) == 1 else joined(found)

    def _stretch(self, number: int, batch_size: int) -> Samples:
        known = self._stretches.get(number)
        if known is not None:
            return known
        size = batch_size * stretch_batches(batch_size)
        in_turn = self._in_turn(np.arange(number * size, (number + 1) * size))
        order = rearranged(
            self._lengths(in_turn),
            epochs_begun(in_turn),
            batch_size=batch_size,
            key=mix(self.data.seed, number),
        )
        found = in_turn.take(order)
        newest = list(self._stretches.items())[-1:]
        self._stretches = {**dict(newest), number: found}
        return found

    def _in_turn(self, places: Numbers) -> Samples:
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

    def _stages(self, source: int, difficulty: DifficultyCurriculum) -> list[SourceStage]:
        """Those that take a sample of the source, by the number of their first one: exact, as the mixture
        cuts no block there."""
        starts = [self._mixture.counts(stage.at_sample)[source] for stage in difficulty.stages]
        taken = [following > start for start, following in pairwise(starts)]
        return [
            SourceStage(start, stage, difficulty.levels[source])
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
