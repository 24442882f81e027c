"""The LVIS v1 classes, their WordNet synsets and ImageNet ids, as packaged tables.

`lvis_v1.tsv` has the 1,203 classes, `substitutes.tsv` the related synsets that stand in for the 43 classes of
which there are too few images. Both are made by `tools/build_taxonomy.py` from WordNet 3.0's own files, so that
nobody needs WordNet at run time. Where a data set's categories differ from the table, the data set wins:
`category_differences` says in what they differ.
"""

from ovforge.taxonomy.differences import category_differences
from ovforge.taxonomy.tables import (
    LvisClass,
    class_by_id,
    class_by_synset,
    class_by_wnid,
    lvis_classes,
    releases_of,
    substitute_synsets,
    synset_to_wnid,
    wnid_to_synset,
)

__all__ = [
    "LvisClass",
    "category_differences",
    "class_by_id",
    "class_by_synset",
    "class_by_wnid",
    "lvis_classes",
    "releases_of",
    "substitute_synsets",
    "synset_to_wnid",
    "wnid_to_synset",
]
