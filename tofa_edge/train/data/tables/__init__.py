"""Tables that list photos: their dialects, their columns, the files that they name."""
