"""The host side: transfers a pretrained network into a supernet and trains all its subnets.

The only part of the package that imports torch.
"""
