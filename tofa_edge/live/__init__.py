"""Serving for months: a first network at once, better ones later, and what happened meanwhile."""
