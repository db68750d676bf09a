"""How the work lies on the machine: mappings, their cost, the search for the best, fusion.

`map_graph` is the door; its signature stays when the search behind it changes.
"""

from mappers.map_graph import map_graph

__all__ = ["map_graph"]
