"""Whole procedures: what is here, what is missing (`doctor`), and every step whose turn it is (`prepare`)."""

from ovforge.workflow.doctor import doctor
from ovforge.workflow.prepare import prepare

__all__ = ["doctor", "prepare"]
