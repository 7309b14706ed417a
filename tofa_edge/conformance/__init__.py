"""The checks that any backend must pass, whoever wrote it."""
