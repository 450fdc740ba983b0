"""Image files to patches of bytes, with Pillow: turned upright, RGB, scaled to a square. Pure.

Scaling is bilinear and keeps no aspect ratio, as ViTImageProcessor does in transformers. Bytes are kept as
they are: the model normalises them.
"""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from deepseek_workloads.contract.run_config import ImageSettings

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")  # of a GIF the first frame
MAX_IMAGE_BYTES = 64 * 1024 * 1024  # of a file
MAX_PIXELS = 64 * 1024 * 1024  # what a small file can claim to be is limited by this, before it is decoded
# What Pillow's decoders raise over files that are no images, or no longer.
_DECODING = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


class ImageRefused(ValueError):
    """No image that can be used; the message says why."""


@dataclass(frozen=True)
class View:
    """What is seen of an image: turned about its middle, then a part of it. What turning bares is black."""

    degrees: float = 0.0  # counter-clockwise
    share: float = 1.0  # of each side
    left: float = 0.0  # of what the part leaves free of the width, the share on its left
    top: float = 0.0

    def of(self, image: Image.Image) -> Image.Image:
        turned = image.rotate(self.degrees, Image.Resampling.BILINEAR) if self.degrees else image
        width, height = (max(1, round(side * self.share)) for side in turned.size)
        left = round((turned.width - width) * self.left)
        top = round((turned.height - height) * self.top)
        return turned.crop((left, top, left + width, top + height))


AS_IT_IS = View()


def to_patches(content: bytes, settings: ImageSettings, *, view: View = AS_IT_IS) -> bytes:
    """uint8 [P, W] as `contract.records.ImageFormat` tells. Raises ImageRefused."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageRefused(
                    f"{image.width} x {image.height} pixels: more than {MAX_PIXELS}: scale it down before"
                )
            upright = view.of(ImageOps.exif_transpose(image).convert("RGB"))
    except ImageRefused:
        raise
    except _DECODING as error:
        raise ImageRefused(f"no image that Pillow decodes ({', '.join(FORMATS)}): {error}") from error
    side, patch = settings.image_size, settings.patch_size
    pixels = np.asarray(upright.resize((side, side), Image.Resampling.BILINEAR))  # [height, width, 3]
    tiles = pixels.reshape(side // patch, patch, side // patch, patch, 3)
    return tiles.transpose(0, 2, 4, 1, 3).tobytes()  # [rows of patches, columns, 3, patch, patch]
