"""Sentences with figures, rendered from stored results; pages must contain them."""
