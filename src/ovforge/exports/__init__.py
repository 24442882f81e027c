"""Pairs and clips in the formats of others: what `ovforge pairs export` writes.

Every format is one file, which is given the videos one after the other and never assumes how many frames one has.
"""

from ovforge.exports.step import export_pairs

__all__ = ["export_pairs"]
