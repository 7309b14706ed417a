"""What to expect of a subnet that was not measured: latency, accuracy, memory."""
