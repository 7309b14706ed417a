"""What `tofa-edge bench` found: one typed value, its file, and the schema of that."""
