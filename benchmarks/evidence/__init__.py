"""Figures of README and docs, rendered from stored results into marked regions."""
