"""Photos as files: found in folders, their copies, decoded, in memory or on disk."""
