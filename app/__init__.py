"""ImageRouter Gateway: one upstream key, many team keys, every cost to the last digit."""

__version__ = "0.1.0"
