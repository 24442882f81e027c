"""Stable Diffusion as a repainting engine: model folder, samplers, sampling loop, engine.

Importing this package loads no torch: `DiffusionEngine` and `inspect_model_folder` are light, and `sampling`, `model`
and `repainter` load it where they are imported.
"""

from ovforge.synthesis.diffusion.engine import DiffusionEngine
from ovforge.synthesis.diffusion.model_folder import ModelReport, inspect_model_folder

__all__ = ["DiffusionEngine", "ModelReport", "inspect_model_folder"]
