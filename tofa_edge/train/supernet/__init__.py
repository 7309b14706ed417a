"""The supernet in torch, and what it starts from: pretrained networks, bundles, nothing."""
