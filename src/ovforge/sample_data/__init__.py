"""A small, real, freely licensed data set in the exact layout of both jobs.

The photographs are scikit-image's (extra `sample`); the polygons, classes and sentences are ovforge's own, made by eye
on those photographs. `images` says which view of which photograph each image is.
"""

from ovforge.sample_data.step import sample_data

__all__ = ["sample_data"]
