"""Latencies of devices as JSON, one file a device, and the code that reads, pools and ranks them.

`schema.json` describes the files. Those that come with the package are priors: figures that others
published, marked so.
"""
