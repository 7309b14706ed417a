"""tofa-edge."""
