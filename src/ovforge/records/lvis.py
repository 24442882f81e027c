"""The classes of LVIS v1 files (https://www.lvisdataset.org/dataset). A field with a default may be missing.

Images and annotations are read as columns of the fields that a step uses (see `annotation_io.schema`).
"""

from __future__ import annotations

import msgspec


class Category(msgspec.Struct, frozen=True):
    """One class."""

    id: int
    name: str
    synset: str = ""
    """The WordNet 3.0 name, as `zebra.n.01`."""
    frequency: str = ""
    """`r` rare (1 to 10 training images), `c` common (11 to 100), `f` frequent; empty where the file has none."""
    image_count: int = 0
    instance_count: int = 0
