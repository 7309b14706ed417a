"""Commands that measure and try to break: each prints the figures that a text quotes."""
