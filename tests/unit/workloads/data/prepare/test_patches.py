"""Image files become patches of bytes, as transformers' image processor scales them."""

import io

import numpy as np
import pytest
from PIL import Image

from deepseek_workloads.contract.run_config import ImageSettings
from deepseek_workloads.data.prepare import patches
from deepseek_workloads.data.prepare.patches import ImageRefused, to_patches

SETTINGS = ImageSettings(image_size=8, patch_size=4)


def written(pixels: np.ndarray, *, mode: str = "RGB", kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, format=kind, **options)
    return content.getvalue()


def random(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_patches_are_by_row_and_their_numbers_by_channel_then_row() -> None:
    pixels = random(8, 8)

    found = np.frombuffer(to_patches(written(pixels), SETTINGS), dtype=np.uint8).reshape(4, 3, 4, 4)

    for number, (row, column) in enumerate(((0, 0), (0, 4), (4, 0), (4, 4))):
        expected = pixels[row : row + 4, column : column + 4].transpose(2, 0, 1)
        assert np.array_equal(found[number], expected)


def test_other_sizes_are_scaled_to_a_square() -> None:
    pixels = random(20, 30)
    scaled = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR))

    assert to_patches(written(pixels), SETTINGS) == to_patches(written(scaled), SETTINGS)


def test_a_photograph_is_turned_upright() -> None:
    pixels, exif = random(8, 8), Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = np.ascontiguousarray(pixels[::-1, ::-1])

    assert to_patches(written(turned, exif=exif), SETTINGS) == to_patches(written(pixels), SETTINGS)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_other_modes_become_colours(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"

    assert len(to_patches(written(random(8, 8), mode=mode, kind=kind), SETTINGS)) == 8 * 8 * 3


@pytest.mark.parametrize(
    "content", [b"", b"no image", written(random(8, 8))[:60], b"%PDF-1.4 and so on"], ids=len
)
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(ImageRefused, match="no image that Pillow decodes"):
        to_patches(content, SETTINGS)


def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patches, "MAX_PIXELS", 99)

    with pytest.raises(ImageRefused, match="10 x 10 pixels: more than 99"):
        to_patches(written(random(10, 10)), SETTINGS)
