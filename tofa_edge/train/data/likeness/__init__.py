"""How alike photos are, and which of them are nearly equal."""
