"""The per-device benchmark: one run, its time plan, comparing and merging runs."""
