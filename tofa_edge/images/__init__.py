"""Image files as people have them: which formats are read, how, and which files are photos."""
