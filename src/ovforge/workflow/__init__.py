"""Whole procedures: what is here, what is missing (`doctor`), and every step whose turn it is (`prepare`)."""
