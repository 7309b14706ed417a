"""The commands of signed bundles, and of replacing them on devices."""
