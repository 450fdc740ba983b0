"""A model that sees: from image files in storage to a model that names the colour of a square."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_cases import SEEING, final_curve, run_config, train_alone, train_group

from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.objective import Quantisation
from deepseek_workloads.contract.run_config import DatasetRun, Storage, TrainingRun
from deepseek_workloads.data.conversations import sample_plan
from deepseek_workloads.data.manifest import DatasetError, load_manifest
from deepseek_workloads.data.prepare.executor import LocalExecutor
from deepseek_workloads.data.prepare.pipeline import prepare
from deepseek_workloads.data.stream import BatchStream
from deepseek_workloads.export.load import load_export
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.images import Images
from deepseek_workloads.plan.vision_tensors import PROJECTOR, VISION_TOWER
from deepseek_workloads.store.interface import ObjectChanged
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.quantise import quantise_weights, round_state

COLOURS = {"red": (230, 20, 20), "green": (20, 200, 40), "blue": (30, 40, 220)}
PICTURES = 96
SIDE, PATCH = 16, 8
TOKEN = "<|image|>"
TEXT = "user: What comes after one? assistant: It is two, and red, green or blue.\n"


def picture(colour: str, *, number: int) -> bytes:
    """A square somewhere on a grey ground, twice as large as the dataset wants it."""
    generator = np.random.default_rng(number)
    pixels = np.full((2 * SIDE, 2 * SIDE, 3), generator.integers(90, 160), dtype=np.uint8)
    row, column = generator.integers(0, SIDE, size=2)
    pixels[row : row + SIDE, column : column + SIDE] = COLOURS[colour]
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format="PNG")
    return written.getvalue()


def dataset(folder: Path, name: str, **changes: object) -> str:
    run = DatasetRun.model_validate(
        {
            "owner": {"namespace": "tests", "name": name, "uid": name},
            "raw_storage": {"uri": f"file://{folder}/raw-{name}"},
            "workers": {"num_nodes": 1},
            "storage": {"uri": f"file://{folder}/{name}"},
            "held_out_fraction": 0.2,
            "raw_sources": [{"name": name, "uri": f"file://{folder}/raw-{name}"}],
            **changes,
        }
    )
    verdict = prepare(run, open_store=open_store, executor=LocalExecutor(threads=1), report=lambda _: None)
    assert verdict.outcome == "Succeeded", verdict.message
    return run.storage.uri


def write_pictures(raw: Path) -> None:
    (raw / "images").mkdir(parents=True)
    lines = []
    for number in range(PICTURES):
        colour = list(COLOURS)[number % len(COLOURS)]
        (raw / "images" / f"{number}.png").write_bytes(picture(colour, number=number))
        messages = [{"role": "user", "content": f"{TOKEN}?"}, {"role": "assistant", "content": colour}]
        lines.append(json.dumps({"messages": messages, "images": [f"images/{number}.png"]}))
    (raw / "0.jsonl").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def pictures(folder: Path) -> str:
    """The URI of a dataset of questions about squares."""
    (folder / "raw-text").mkdir()
    for number in range(20):
        (folder / "raw-text" / f"{number}.txt").write_text(TEXT * 2 + str(number))
    special = ["<|begin_of_text|>", "<|end_of_text|>", TOKEN]
    text = dataset(folder, "text", tokenizer={"vocab_size": 300, "special_tokens": special})
    write_pictures(folder / "raw-squares")
    source = {
        "name": "squares",
        "uri": f"file://{folder}/raw-squares",
        "format": "image-text",
        "include": ["*.jsonl"],
    }
    return dataset(
        folder,
        "squares",
        raw_sources=[source],
        tokenizer_uri=f"{text}/manifest.json",
        images={"image_token": TOKEN, "image_size": SIDE, "patch_size": PATCH},
    )


def seeing(folder: Path, pictures: str, name: str, *, world_size: int = 1, **changes: object) -> TrainingRun:
    store = open_store(Storage(uri=pictures))
    images = load_manifest(store, None).images
    assert images is not None
    assert SEEING.vision is not None
    vision = SEEING.vision.model_copy(update={"image_token_id": images.image_token_id})
    run = run_config(
        f"file://{folder}/{name}",
        pictures,
        world_size=world_size,
        architecture=SEEING.model_copy(update={"vocab_size": 320, "vision": vision}),
        objective="sft",
        **changes,
    )
    return run.model_copy(update={"data": run.data.model_copy(update={"sequence_length": 63})})


@pytest.fixture(scope="module")
def learnt(folder: Path, pictures: str) -> Verdict:
    run = seeing(folder, pictures, "learnt", steps=200, checkpoint_every=100)
    return train_alone(
        run.model_copy(update={"evaluation": run.evaluation.model_copy(update={"prompts": [], "answers": 8})})
    )


def test_the_model_names_the_colour_of_squares_that_it_has_not_seen(learnt: Verdict) -> None:
    """Every answer is a colour and an end; who does not see foresees the ends only, and some colours."""
    assert learnt.evaluation["accuracy"] > 0.95
    assert learnt.evaluation["token_f1"] > 0.9


def test_the_export_answers_by_what_it_sees(learnt: Verdict, folder: Path, pictures: str) -> None:
    loaded = load_export(open_store(Storage(uri=f"file://{folder}/learnt")), learnt.digest)
    run = seeing(folder, pictures, "unused")
    store = open_store(run.data.sources[0].storage)
    plan = sample_plan(run, [load_manifest(store, None)], [store])
    with BatchStream(plan, [store], rank=0, world_size=1, global_batch_size=8, micro_batch_size=8) as stream:
        rows = next(stream).rows
    assert rows.images is not None
    counted = rows.labels >= 0

    def right(patches: torch.Tensor) -> float:
        images = Images(patches, rows.images.rows, rows.images.columns)
        with (
            torch.no_grad(),
            loaded.model.images.within(images),
            loaded.model.documents.within(rows.documents[:, :-1]),
        ):
            foreseen = loaded.model(rows.input_ids[:, :-1]).argmax(-1)
        return float((foreseen == rows.labels)[counted].float().mean())

    seeing_right, blind_right = right(rows.images.patches), right(torch.full_like(rows.images.patches, 128))
    assert seeing_right > 0.95
    assert blind_right < seeing_right - 0.1


def test_images_stand_where_their_placeholders_do_and_only_words_are_predicted(
    folder: Path, pictures: str
) -> None:
    run = seeing(folder, pictures, "unused")
    store = open_store(run.data.sources[0].storage)
    plan = sample_plan(run, [load_manifest(store, None)], [store])
    token = run.architecture.vision.image_token_id
    with BatchStream(plan, [store], rank=0, world_size=1, global_batch_size=4, micro_batch_size=4) as stream:
        rows = next(stream).rows

    assert rows.images is not None
    assert rows.images.patches.shape[1:] == (4, 3 * PATCH**2)
    expected = torch.zeros_like(rows.input_ids, dtype=torch.bool)
    for row, column in zip(rows.images.rows.tolist(), rows.images.columns.tolist(), strict=True):
        expected[row, column : column + 4] = True
    assert torch.equal(rows.input_ids == token, expected)
    assert len(rows.images.rows) > 4, "no row has two images"
    assert not (rows.labels == token).any()


def test_the_loss_is_the_same_whatever_the_passes_and_ranks(folder: Path, pictures: str) -> None:
    alone = seeing(folder, pictures, "alone")
    train_alone(alone)
    runs = [
        seeing(folder, pictures, "replicas", world_size=2, micro_batch_size=1, parallelism={"zero_stage": 0}),
        seeing(folder, pictures, "shards", world_size=2, parallelism={"zero_stage": 3}),
        seeing(folder, pictures, "experts", world_size=2, parallelism={"expert_parallel_degree": 2}),
    ]
    train_group(runs, folder / "ranks")
    expected = final_curve(alone.storage.uri)
    for run in runs:
        for step, (loss, ids) in final_curve(run.storage.uri).items():
            assert ids == expected[step][1]
            assert loss == pytest.approx(expected[step][0], abs=5e-6)


def test_frozen_parts_stay_as_they_are(learnt: Verdict, folder: Path, pictures: str) -> None:
    start = {"uri": f"file://{folder}/learnt/exports/{learnt.digest.replace(':', '-')}"}
    verdict = train_alone(
        seeing(folder, pictures, "frozen", init_from=start, freeze=["visionTower", "languageModel"])
    )
    before, after = (
        load_export(open_store(Storage(uri=f"file://{folder}/{name}")), digest).model.state_dict()
        for name, digest in (("learnt", learnt.digest), ("frozen", verdict.digest))
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(PROJECTOR) for name in changed)
    assert any(name.startswith(VISION_TOWER) for name in before)


def test_an_image_that_changed_in_storage_is_named_and_never_learnt(folder: Path, pictures: str) -> None:
    uri = f"{folder}/damaged"
    Path(pictures.removeprefix("file://")).rename(uri)
    try:
        store = open_store(Storage(uri=f"file://{uri}"))
        column = load_manifest(store, None).train[0].images
        content = bytearray(store.read(column.key))
        content[5] ^= 1
        store.put(column.key, bytes(content))
        with pytest.raises(ObjectChanged, match="image 0 of the split"):
            train_alone(seeing(folder, f"file://{uri}", "never"))
        content[5] ^= 1
        store.put(column.key, bytes(content))
    finally:
        Path(uri).rename(pictures.removeprefix("file://"))


def test_a_model_that_does_not_see_is_refused_such_a_dataset(folder: Path, pictures: str) -> None:
    run = seeing(folder, pictures, "blind")
    blind = run.architecture.model_copy(update={"vision": None})
    with pytest.raises(DatasetError, match=r"set spec\.model\.vision with imageSize 16, patchSize 8"):
        train_alone(run.model_copy(update={"architecture": blind}))


def test_what_an_export_rounds_of_an_encoder_the_training_had_rounded() -> None:
    everything = Quantisation(bits=4, modules=["*"])
    trained, exported = (DeepseekV3ForCausalLM(SEEING).eval() for _ in range(2))
    trained.init_weights(seed=0)
    exported.load_state_dict(round_state(trained, trained.state_dict(), everything))
    quantise_weights(trained, everything)
    patches = torch.randint(256, (2, 4, 192), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = Images(patches, torch.tensor([0, 1]), torch.tensor([1, 2]))
    features = []
    for model in (trained, exported):
        with torch.no_grad(), model.images.within(images):
            features.append(model.model.image_features())
    torch.testing.assert_close(*features, rtol=0, atol=1e-6)
