"""Whether an engine works here: golden cases in a process of its own, kept as records."""
