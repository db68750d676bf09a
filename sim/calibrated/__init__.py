"""A design's parameters fitted to measurements: which there are, the fit, and writing them."""
