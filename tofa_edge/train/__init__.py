"""The host: from photos to a bundle. Of the product, only this package imports torch."""
