"""Looking at results: local, read-only pages over published outputs. Needs the extra `viewer`, but for nothing else."""

from ovforge.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "export_pairs": "export",
        "view_exemplars": "step",
        "view_pairs": "step",
    },
)
