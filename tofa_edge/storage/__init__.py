"""Files and folders that outlive a process: whole files, the cache, JSON with checked types."""
