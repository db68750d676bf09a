"""The search's compiled parts. Everything here is numba: plain arrays in, plain arrays out."""
