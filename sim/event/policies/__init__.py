"""Explicit pipelines: functions from sizes, a machine's numbers and knobs to a program."""
