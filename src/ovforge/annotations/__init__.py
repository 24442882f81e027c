"""Steps from annotation file to annotation file."""
