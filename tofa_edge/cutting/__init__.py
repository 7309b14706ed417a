"""From a bundle to a network: slice, calibrate BatchNorm, quantise, and what that costs."""
