"""A Run for people and for machines: terminal table, JSON, HTML."""
