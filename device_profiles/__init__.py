"""Measured latencies of devices, as JSON, and the code that reads them: none in this version."""
