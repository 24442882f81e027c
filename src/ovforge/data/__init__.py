"""Loaders to train from what ovforge makes."""

from ovforge.data.clip_dataset import ClipDataset, collate_clips
from ovforge.data.pair_dataset import PairDataset, collate_pairs

__all__ = ["ClipDataset", "PairDataset", "collate_clips", "collate_pairs"]
