"""ImageNet-21K: from the official archives to the layout of the field, and the index of its LVIS images."""

from ovforge.imagenet.index import index
from ovforge.imagenet.prepare import prepare

__all__ = ["index", "prepare"]
