"""Measurements: from rows of a CSV to the ops that were measured."""
