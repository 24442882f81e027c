"""Exemplar pictures of every class: collected, sampled, cropped."""
