"""Photos with and without labels: where they come from, how they are split and augmented."""
