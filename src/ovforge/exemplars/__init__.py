"""Exemplar images of every class: collected, sampled, cropped, listed.

`collate_exemplars` makes the dictionary of all exemplars, `sample_exemplars` draws K of each class,
`crop_exemplars` cuts them out, `index_exemplars` lists the cut-outs as an annotation file.
"""

from ovforge.exemplars.collate import collate_exemplars
from ovforge.exemplars.crop import crop_exemplars
from ovforge.exemplars.index import index_exemplars
from ovforge.exemplars.sample import sample_exemplars

__all__ = ["collate_exemplars", "crop_exemplars", "index_exemplars", "sample_exemplars"]
