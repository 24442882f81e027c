"""The options of every step, as frozen dataclasses, one file per room.

The Python function, the command line and a run's manifest all use the same dataclass. They stand apart from the
steps so that `ovforge --help` need not load numpy: nothing here imports more than the standard library.
"""
