"""From the images of a batch's rows to those of a model's pass, on its device."""

import torch

from deepseek_workloads.data.rows import Rows
from deepseek_workloads.model.images import Images


def images_of(rows: Rows, device: torch.device) -> Images | None:
    """None where no source of the run has images."""
    if rows.images is None:
        return None
    return Images(rows.images.patches, rows.images.rows, rows.images.columns).to(device)
