"""What became of every file: counted, as a table, as a page."""
