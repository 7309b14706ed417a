"""The .tofa file: archive, manifest, weights, golden cases, photos; images as arrays."""
