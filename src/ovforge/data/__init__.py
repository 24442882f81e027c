"""Loaders to train from what ovforge makes."""

from ovforge.data.pair_dataset import PairDataset

__all__ = ["PairDataset"]
