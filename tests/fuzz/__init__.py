"""Fuzzers: damaged and crafted bundles, manifests, tensors and images."""
