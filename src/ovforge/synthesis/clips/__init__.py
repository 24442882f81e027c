"""Clips of several frames from one still image, with objects that move, and their truth."""
