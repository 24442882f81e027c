"""The LVIS v1 classes, their WordNet synsets and ImageNet ids, as packaged tables."""
