"""Readers of what users download, and the one place that knows where files live."""
