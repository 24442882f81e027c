"""From a still image to its second view: motion, composing, repainting, pairs, tracks."""

from ovforge.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "annotate_pairs": "tracks",
        "generate_pairs": "generate",
        "merge_pairs": "merge",
        "replay_pair": "replay",
    },
)
