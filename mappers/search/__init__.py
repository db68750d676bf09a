"""Searches over mappings. Each yields what it tried; the caller takes the best."""
