"""A device's bundle as it is replaced: installed as a transaction, and served from its slots."""
