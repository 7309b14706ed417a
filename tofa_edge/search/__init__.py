"""Which subnet on which engine: expected latency and accuracy, the best within limits."""
