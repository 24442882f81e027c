"""Stable Diffusion as a repainting engine: model folder, samplers, sampling loop, engine.

Importing this package loads no torch: `DiffusionEngine` and `inspect_model_folder` are light, and `sampling`, `model`
and `repainter` load it where they are imported.
"""
