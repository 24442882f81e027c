"""ovforge prepares data for open-vocabulary detection and tracking."""

__version__ = "0.1.0"
