"""Loaders to train from what ovforge makes."""

from ovforge.data.pair_dataset import PairDataset, collate_pairs

__all__ = ["PairDataset", "collate_pairs"]
