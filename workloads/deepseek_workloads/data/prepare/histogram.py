"""A bar chart as a PNG, with Pillow and its own font. Pure: equal bars give equal bytes."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

BAR_HEIGHT, GAP = 18, 6
LABEL_WIDTH, BARS_WIDTH, COUNT_WIDTH = 110, 480, 90
MARGIN, TITLE_HEIGHT = 16, 28
LABEL_CHARACTERS = 16
_INK, _BAR, _PAPER = "#222222", "#4c78a8", "#ffffff"


def draw_histogram(title: str, bars: Sequence[tuple[str, int]]) -> bytes:
    """One horizontal bar a (label, count), in order, scaled to the largest."""
    font = ImageFont.load_default(size=12)
    height = 2 * MARGIN + TITLE_HEIGHT + max(1, len(bars)) * (BAR_HEIGHT + GAP)
    image = Image.new("RGB", (2 * MARGIN + LABEL_WIDTH + BARS_WIDTH + COUNT_WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN), f"Documents by {title}", fill=_INK, font=font)
    largest = max((count for _, count in bars), default=1) or 1
    for at, (label, count) in enumerate(bars):
        top = MARGIN + TITLE_HEIGHT + at * (BAR_HEIGHT + GAP)
        left = MARGIN + LABEL_WIDTH
        width = round(BARS_WIDTH * count / largest)
        draw.text((MARGIN, top + 2), label[:LABEL_CHARACTERS], fill=_INK, font=font)
        if width:
            draw.rectangle((left, top, left + width - 1, top + BAR_HEIGHT - 1), fill=_BAR)
        draw.text((left + width + 6, top + 2), f"{count:,}", fill=_INK, font=font)
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=False)
    return content.getvalue()
