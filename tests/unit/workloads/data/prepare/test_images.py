"""A dataset of texts with images, prepared over real files in the tokens of another dataset."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.run_config import (
    ImageAugmentation,
    ImageSettings,
    RawSource,
    TokenizerTraining,
)
from deepseek_workloads.data.document_facts import read_document_facts
from deepseek_workloads.data.document_offsets import read_document_starts
from deepseek_workloads.data.images import ImageReader, read_image_index
from deepseek_workloads.data.loss_mask import ids_of, predicted_of
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.data.prepare import read_stage
from deepseek_workloads.data.prepare.part_images import views_of
from deepseek_workloads.data.prepare.patches import View, to_patches
from deepseek_workloads.store.interface import ObjectChanged
from deepseek_workloads.store.open import open_store

RECORDS, TOKEN = 40, "<|image|>"
SETTINGS = ImageSettings(image_token=TOKEN, image_size=8, patch_size=4)
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", TOKEN]


def picture(number: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (12, 10), (number, 2 * number, 255 - number)).save(written, format="PNG")
    return written.getvalue()


def record(number: int) -> dict[str, object]:
    """The number of its text is that of its images, of which every third has two."""
    images = [f"images/{number}.png"] * (1 + (number % 3 == 0))
    return {"text": f"{TOKEN * len(images)} is picture {number}.", "images": images}


@pytest.fixture
def make_image_run(make_run, prepare, tmp_path: Path):
    base = make_run(tokenizer=TokenizerTraining(vocab_size=320, special_tokens=SPECIAL))
    assert prepare(base).outcome == "Succeeded"

    def make(records: list[dict[str, object]], **changes):
        folder = tmp_path / "pictures"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for number in range(RECORDS):
            (folder / "images" / f"{number}.png").write_bytes(picture(number))
        (folder / "0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in records))
        source = RawSource(name="pictures", uri=f"file://{folder}", format="image-text", include=["*.jsonl"])
        return make_run(
            **{
                "raw_sources": [source],
                "tokenizer": None,
                "tokenizer_uri": f"{base.storage.uri}/manifest.json",
                "images": SETTINGS,
                "storage": base.storage.model_copy(update={"uri": f"file://{tmp_path}/image-out"}),
                **changes,
            }
        )

    return make


def test_every_document_brings_its_own_images_in_their_places(make_image_run, prepare) -> None:
    run = make_image_run([record(number) for number in range(RECORDS)])
    verdict = prepare(run)
    assert verdict.outcome == "Succeeded", verdict.message
    store = open_store(run.storage)
    manifest = load_manifest(store, verdict.digest)
    assert manifest.images is not None
    token = manifest.images.image_token_id
    documents = 0
    for shards in (manifest.train, manifest.held_out):
        tokens = np.concatenate([np.frombuffer(store.read(shard.key), dtype=shard.dtype) for shard in shards])
        starts = read_document_starts(store, shards)
        reader = ImageReader(store, shards, read_image_index(store, shards), image_bytes=8 * 8 * 3)
        windows = list(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))
        for (start, end), images in zip(windows, reader.read(windows), strict=True):
            ids = ids_of(tokens[start:end])
            places = [image.column for image in images]
            expected = np.zeros(end - start, dtype=bool)
            for place in places:
                expected[place : place + 4] = True
            assert np.array_equal(ids == token, expected)
            assert np.array_equal(predicted_of(tokens[start:end]), ids != token)
            numbers = {image.content[0] for image in images}
            (number,) = numbers
            assert images[0].content == to_patches(picture(number), SETTINGS)
            assert len(images) == 1 + (number % 3 == 0)
            documents += 1
    assert documents == RECORDS


def test_captions_in_objects_of_their_own_are_the_records_that_lines_would_be(
    make_image_run, prepare, tmp_path
) -> None:
    lines = make_image_run(
        [{"text": f"A picture, {n}.", "images": [f"images/{n}.png"]} for n in range(RECORDS)]
    )
    expected = prepare(lines)
    for number in range(RECORDS):
        caption = tmp_path / "pictures/images" / f"{number}.{'caption' if number % 2 else 'txt'}"
        caption.write_text(f"A picture, {number}.\n")
    beside = RawSource(
        name="pictures",
        uri=lines.raw_sources[0].uri,
        format="image-text",
        include=["images/*.txt", "images/*.caption"],
        captions=["*.txt", "*.caption"],
    )
    out = lines.storage.model_copy(update={"uri": f"file://{tmp_path}/captions-out"})
    verdict = prepare(lines.model_copy(update={"raw_sources": [beside], "storage": out}))
    assert verdict.outcome == "Succeeded", verdict.message
    assert verdict.statistics == expected.statistics


def test_a_caption_without_an_image_is_a_bad_record(make_image_run, prepare, tmp_path) -> None:
    run = make_image_run([record(number) for number in range(RECORDS)])
    (tmp_path / "pictures/lost.txt").write_text("Nobody has seen it.")
    source = run.raw_sources[0].model_copy(update={"include": ["*.jsonl", "*.txt"], "captions": ["*.txt"]})
    verdict = prepare(run.model_copy(update={"raw_sources": [source]}))
    assert verdict.reason == reasons.TOO_MANY_BAD_RECORDS
    assert "lost.txt at byte 0: no image of the same name" in verdict.message


def test_more_images_than_a_task_holds_are_told_of(make_image_run, prepare, monkeypatch) -> None:
    monkeypatch.setattr(read_stage, "MAX_PART_BYTES", RECORDS * SETTINGS.image_bytes)
    verdict = prepare(make_image_run([record(number) for number in range(RECORDS)]))
    assert verdict.reason == reasons.OBJECT_TOO_LARGE
    assert "0.jsonl: more than 7680 bytes of images" in verdict.message


def test_compressed_lines_bring_their_images(make_image_run, prepare) -> None:
    run = make_image_run([record(number) for number in range(RECORDS)], held_out_fraction=0.0)
    source = run.raw_sources[0]
    lines = Path(source.uri.removeprefix("file://")) / "0.jsonl"
    lines.with_suffix(".jsonl.gz").write_bytes(gzip.compress(lines.read_bytes()))
    lines.unlink()
    verdict = prepare(
        run.model_copy(update={"raw_sources": [source.model_copy(update={"include": ["*.jsonl.gz"]})]})
    )
    assert verdict.outcome == "Succeeded", verdict.message
    manifest = load_manifest(open_store(run.storage), verdict.digest)
    assert sum(shard.images.images for shard in manifest.train if shard.images) == RECORDS + 14


def test_only_words_count_as_text(make_image_run, prepare) -> None:
    run = make_image_run([record(number) for number in range(RECORDS)], held_out_fraction=0.0)
    manifest = load_manifest(open_store(run.storage), prepare(run).digest)

    statistics = manifest.statistics["train"]
    images = sum(shard.images.images for shard in manifest.train if shard.images)
    assert statistics.bytes == sum(len(f" is picture {number}.") for number in range(RECORDS))
    assert statistics.predicted_tokens == statistics.tokens - 4 * images


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"text": "a", "images": ["images/none.png"]}, "image images/none.png: does not exist"),
        ({"text": "a", "images": ["0.jsonl"]}, "image 0.jsonl: no image that Pillow decodes"),
        ({"text": f"{TOKEN}{TOKEN}", "images": ["images/1.png"]}, "2 placeholders"),
    ],
)
def test_a_record_whose_images_cannot_be_used_is_a_bad_record(
    line: dict[str, object], words: str, make_image_run, prepare
) -> None:
    records = [*(record(number) for number in range(RECORDS)), line]
    refused = prepare(make_image_run(records))

    assert (refused.outcome, refused.reason) == ("Failed", reasons.TOO_MANY_BAD_RECORDS)
    assert words in refused.message
    assert prepare(make_image_run(records, max_bad_records=1)).statistics["badRecords"] == 1


def test_the_same_words_with_another_image_are_no_duplicate(make_image_run, prepare) -> None:
    lines = [{"text": "What?", "images": [f"images/{number % 20}.png"]} for number in range(RECORDS)]

    verdict = prepare(make_image_run(lines, held_out_fraction=0.0))

    assert verdict.statistics["documents"] == 20


def test_a_tokenizer_without_the_image_token_is_refused_before_any_work(make_image_run, prepare) -> None:
    other = SETTINGS.model_copy(update={"image_token": "<image>"})

    verdict = prepare(make_image_run([record(1)], images=other))

    assert verdict.outcome == "Failed"
    assert "spec.images.imageToken: '<image>': is no special token" in verdict.message


def test_a_damaged_image_is_never_given(make_image_run, prepare) -> None:
    run = make_image_run([record(number) for number in range(RECORDS)], held_out_fraction=0.0)
    store = open_store(run.storage)
    shards = load_manifest(store, prepare(run).digest).train
    index = read_image_index(store, shards)
    content = bytearray(store.read(shards[0].images.key))
    content[3] ^= 1
    store.put(shards[0].images.key, bytes(content))
    reader = ImageReader(store, shards, index, image_bytes=8 * 8 * 3)
    first = int(index.offsets[0])

    with pytest.raises(ObjectChanged, match="image 0 of the split"):
        reader.read([(first, first + 1)])
    assert reader.read([(first + 1, int(index.offsets[-1]) + 1)])[0], "the others are as they were"


def test_images_are_not_read_as_lines(raw: Path) -> None:
    with pytest.raises(ValueError, match="would read images as lines"):
        RawSource(name="pictures", uri=f"file://{raw}", format="image-text")


def test_images_and_text_do_not_mix(make_run, raw: Path) -> None:
    sources = [
        RawSource(name=name, uri=f"file://{raw}", format=name, include=["*.jsonl"])
        for name in ("image-text", "jsonl")
    ]
    with pytest.raises(ValueError, match="each as a dataset of their own"):
        make_run(raw_sources=sources)


def _drawn() -> bytes:
    """64 x 48, the left half red, the right half blue."""
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)
    pixels[:, :32, 0] = pixels[:, 32:, 2] = 255
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format="PNG")
    return written.getvalue()


def _colours(view: View) -> list[str]:
    """Of a square of 2 x 2 pixels: red or blue, whichever there is more of."""
    settings = ImageSettings(image_token=TOKEN, image_size=2, patch_size=2)
    values = np.frombuffer(to_patches(_drawn(), settings, view=view), dtype=np.uint8).reshape(3, 4)
    return ["red" if red > blue else "blue" for red, blue in values[[0, 2]].T.tolist()]


def test_a_view_is_turned_and_cropped() -> None:
    assert _colours(View()) == ["red", "blue"] * 2
    assert _colours(View(degrees=180)) == ["blue", "red"] * 2
    assert _colours(View(share=0.4, left=0.0)) == ["red"] * 4
    assert _colours(View(share=0.4, left=1.0)) == ["blue"] * 4


def test_views_are_by_chance_within_their_limits_and_the_same_again() -> None:
    augmentation = ImageAugmentation(copies=8, max_rotation_degrees=15, min_crop_share=0.7)
    views = views_of("a.png", augmentation)
    assert views == views_of("a.png", augmentation)
    assert len(set(views)) == 8
    assert views != views_of("b.png", augmentation)
    assert all(abs(view.degrees) <= 15 and 0.7 <= view.share <= 1 for view in views)
    assert views_of("a.png", None) == []


def _noise(number: int) -> bytes:
    """No view of it is like another."""
    written = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, size=(10, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(written, format="PNG")
    return written.getvalue()


def test_copies_have_other_images_are_marked_and_stay_on_their_originals_side(
    make_image_run, prepare, monkeypatch
) -> None:
    """One record says what only a template may: it is refused with its copies; the marks stay in place."""
    monkeypatch.setitem(make_image_run.__globals__, "picture", _noise)
    records = [record(number) for number in range(RECORDS)]
    said = {"user": f"{TOKEN}<|end_of_text|>", "assistant": "Yes."}
    records[7] |= {"messages": [{"role": role, "content": content} for role, content in said.items()]}
    run = make_image_run(
        records,
        image_augmentation=ImageAugmentation(copies=2, max_rotation_degrees=30),
        max_bad_records=3,
        deduplicate=False,
    )
    verdict = prepare(run)
    assert verdict.outcome == "Succeeded", verdict.message
    assert verdict.statistics["badRecords"] == 3
    store = open_store(run.storage)
    manifest = load_manifest(store, verdict.digest)
    for shards in (manifest.train, manifest.held_out):
        for shard in shards:
            marks = read_document_facts(store, [shard])["augmented"].tolist()
            assert marks == [0, 1, 1] * (shard.documents // 3)  # each original, then its copies
