"""The operator and worker images: from the source tree to a cluster's nodes or a registry.

`build` makes what is missing, `load` gives it to a cluster whose nodes import archives (`load_dependencies`
the heavy part of it), `push` to a registry.
"""

from deepseek_demo.images.build import Builder, BuiltImage, BuiltImages, ImageSettings
from deepseek_demo.images.deliver import ImageTarget, load, load_dependencies, push
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
    "load_dependencies",
    "push",
]
