"""Choosing for this device: screen, measure, search, finish, remember; profile, export."""
