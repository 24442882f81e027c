"""LVIS files from Python: the commands of `ovforge lvis` as functions of the same names, their options as keywords."""

from ovforge.annotations import add_frequencies, base_classes, category_info, merge_coco, remove_rare
from ovforge.annotations.pack_images import pack_images

__all__ = ["add_frequencies", "base_classes", "category_info", "merge_coco", "pack_images", "remove_rare"]
