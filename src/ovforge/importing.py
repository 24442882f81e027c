"""Other data sets from Python: `ovforge import` as a function, its options as keywords."""

from ovforge.annotations.importing import import_annotations

__all__ = ["import_annotations"]
