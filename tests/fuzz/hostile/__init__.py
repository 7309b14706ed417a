"""Bundles whose sizes and hashes are all in order, and whose content is meant to do harm."""
