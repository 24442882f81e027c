"""Readers of what users download and of what steps hand on, judged by content.

ImageNet-21K in any layout, Visual Genome, exemplar dictionaries and their images, features, and the index of a merged
run's pairs.
"""

from ovforge.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "Crop": "crop_image",
        "DrawnClass": "exemplars",
        "EmptyBoxError": "crop_image",
        "ExemplarDictionary": "exemplars",
        "ExemplarImages": "exemplar_images",
        "ExemplarRecord": "exemplars",
        "FeatureFolder": "features",
        "ImageNet21k": "imagenet21k",
        "ObjectBox": "visual_genome",
        "ObjectColumns": "pair_arrays",
        "PairArrays": "pair_arrays",
        "PairIndex": "pair_index",
        "PrepareReport": "imagenet21k",
        "SourceImage": "crop_image",
        "cut_out": "crop_image",
        "cut_pixels": "crop_image",
        "find_tree": "imagenet21k",
        "open_pair_index": "pair_index",
        "read_drawn": "exemplars",
        "read_images": "visual_genome",
        "read_objects": "visual_genome",
        "why_unfinished": "imagenet21k",
    },
)
