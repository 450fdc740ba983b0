"""The image encoder computes what transformers' ViTModel computes; its features stand where images do."""

import pytest
import torch
from small_architectures import BASE, NEXTN, SEEING
from torch import Tensor
from transformers import ViTConfig, ViTModel

from deepseek_workloads.contract.architecture import Architecture, Vision
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.images import Images, find_images
from deepseek_workloads.model.vision import VisionTransformer, to_patches

VISION = SEEING.vision
assert VISION is not None
LENGTH = 24
WITHOUT_BIASES = VISION.model_copy(update={"qkv_bias": False, "layer_norm_eps": 1e-5})


def encoders(vision: Vision) -> tuple[VisionTransformer, ViTModel]:
    config = ViTConfig(
        **vision.model_dump(exclude={"image_mean", "image_std", "image_token_id"}),
        attn_implementation="sdpa",  # eager computes its weights in float32, whatever the rest
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        oracle = ViTModel(config, add_pooling_layer=False).double()
    with torch.no_grad():
        for number, parameter in enumerate(oracle.parameters()):
            parameter += 0.2 * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(number), dtype=parameter.dtype
            )
    ours = VisionTransformer(vision).double()
    ours.load_state_dict(oracle.state_dict(), strict=True)
    return ours, oracle


def pixels(count: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 12, 12), generator=generator, dtype=torch.uint8)


def normalised(images: Tensor, vision: Vision) -> Tensor:
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)
        for values in (vision.image_mean, vision.image_std)
    )
    return (images.double() / 255 - mean) / std


@pytest.mark.parametrize("vision", [VISION, WITHOUT_BIASES], ids=["biases", "no biases of queries"])
def test_features_and_gradients_are_those_of_vit(vision: Vision) -> None:
    ours, oracle = encoders(vision)
    images = pixels(3)

    found = ours(to_patches(images, patch_size=4))
    expected = oracle(pixel_values=normalised(images, vision)).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)

    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=expected.dtype)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for (name, mine), theirs in zip(ours.named_parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-11, rtol=1e-10, msg=name)


def model_of(architecture: Architecture) -> DeepseekV3ForCausalLM:
    model = DeepseekV3ForCausalLM(architecture).double()
    model.init_weights(5)
    return model


def rows_with_images() -> tuple[Tensor, Images]:
    """Two rows of text; the first has two images, the second begins with one."""
    ids = torch.randint(8, 96, (2, LENGTH), generator=torch.Generator().manual_seed(2))
    for row, column in ((0, 1), (0, 12), (1, 0)):
        ids[row, column : column + VISION.num_patches] = VISION.image_token_id
    images = find_images(ids, to_patches(pixels(3), patch_size=4), image_token_id=VISION.image_token_id)
    return ids, images


def test_features_take_the_places_of_their_placeholders_and_nothing_else() -> None:
    model = model_of(SEEING)
    ids, images = rows_with_images()

    with torch.no_grad(), model.images.within(images):
        model.images.features = model.model.image_features()
        embedded = model.model.embed(ids)
        features = model.images.features
    plain = model.model.embed_tokens(ids)

    assert features is not None
    for number, (row, column) in enumerate(((0, 1), (0, 12), (1, 0))):
        torch.testing.assert_close(embedded[row, column : column + 9], features[number])
    text = ids != VISION.image_token_id
    torch.testing.assert_close(embedded[text], plain[text])


def test_what_comes_after_an_image_depends_on_it_and_what_comes_before_does_not() -> None:
    model = model_of(SEEING).eval()
    ids, images = rows_with_images()
    other = Images(
        torch.cat([images.patches[:1], 255 - images.patches[1:2], images.patches[2:]]),
        images.rows,
        images.columns,
    )

    with torch.no_grad():
        with model.images.within(images):
            first = model(ids)
        with model.images.within(other):
            second = model(ids)

    torch.testing.assert_close(first[0, :12], second[0, :12])
    torch.testing.assert_close(first[1], second[1])
    assert (first[0, 21:] - second[0, 21:]).abs().amax(-1).min() > 1e-6


def test_a_part_of_an_image_that_the_row_cuts_off_is_left_out() -> None:
    model = model_of(SEEING).eval()
    ids, images = rows_with_images()

    with torch.no_grad():
        with model.images.within(images):
            whole = model(ids)
        with model.images.within(images):
            cut = model(ids[:, :15])

    torch.testing.assert_close(cut, whole[:, :15])


@pytest.mark.parametrize(
    "architecture", [SEEING, NEXTN.model_copy(update={"vision": VISION})], ids=["v3", "mtp"]
)
def test_every_weight_of_the_encoder_learns_and_without_an_image_gets_zeros(
    architecture: Architecture,
) -> None:
    model = model_of(architecture)
    ids, images = rows_with_images()
    none = Images(images.patches[:0], images.rows[:0], images.columns[:0])

    for given, learns in ((images, True), (none, False)):
        model.zero_grad()
        with model.images.within(given):
            model(ids[:, :-1], ids[:, 1:]).loss.backward()
        seeing = {
            name: p.grad
            for name, p in model.named_parameters()
            if "vision_tower" in name or "projector" in name
        }
        assert all(gradient is not None for gradient in seeing.values())
        # A key's bias adds the same to every weight of a query, which softmax does not see.
        taught = {
            name: bool((gradient.abs() > 1e-15).any())
            for name, gradient in seeing.items()
            if "k_proj.bias" not in name
        }
        assert set(taught.values()) == {learns}, taught


def test_without_images_it_is_the_model_of_text() -> None:
    seeing, blind = model_of(SEEING).eval(), model_of(BASE).eval()
    ids = torch.randint(96, (2, 12), generator=torch.Generator().manual_seed(3))

    with torch.no_grad():
        torch.testing.assert_close(seeing(ids), blind(ids))


def test_placeholders_that_are_not_whole_images_are_refused() -> None:
    ids, images = rows_with_images()

    with pytest.raises(ValueError, match="hold 27 tokens of id 7, and 2 images of 9 patches need 18"):
        find_images(ids, images.patches[:2], image_token_id=7)
