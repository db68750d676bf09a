"""Accelerators as YAML: data only. This file makes the folder findable when installed."""
