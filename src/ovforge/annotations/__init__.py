"""Annotation file in, annotation file out: the LVIS steps.

Each step is a function of one options object from `ovforge.options.annotations` and returns a `StepSummary`.
`pack_images` is imported from its own module: it is the one step that loads HDF5 and an image codec.
"""

from ovforge.annotations.base_classes import base_classes
from ovforge.annotations.category_info import add_frequencies, category_info
from ovforge.annotations.merge_coco import merge_coco
from ovforge.annotations.remove_rare import remove_rare

__all__ = ["add_frequencies", "base_classes", "category_info", "merge_coco", "remove_rare"]
