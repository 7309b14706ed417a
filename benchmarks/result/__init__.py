"""What `tofa-edge bench` found: one typed value, its file, and the schema of that.

A `BenchResult` has rows, and those have parts. Results of former schemas are read as well.
"""
