"""A figure, and whether it counts: latency, energy, order statistics, validity."""
