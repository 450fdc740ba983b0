"""The operator and worker images: from the source tree to a cluster's nodes or a registry.

`build` makes what is missing, `load` gives it to a cluster whose nodes import archives, `push` to a registry.
"""

from deepseek_demo.images.build import Builder, BuiltImage, BuiltImages, ImageSettings
from deepseek_demo.images.deliver import ImageTarget, load, push
from deepseek_demo.images.inputs import OPTIONAL_TARGETS, TARGETS

__all__ = [
    "OPTIONAL_TARGETS",
    "TARGETS",
    "Builder",
    "BuiltImage",
    "BuiltImages",
    "ImageSettings",
    "ImageTarget",
    "load",
    "push",
]
