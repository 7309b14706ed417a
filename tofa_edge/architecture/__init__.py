"""An architecture as a value: search spaces, subnets, their layers, costs and encodings."""
