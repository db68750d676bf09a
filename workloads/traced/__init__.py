"""A Hugging Face model run without weights, and what it did written as a graph.

`model` makes the module on the meta device and `inputs` runs it; `recorder` notes what it runs,
with `products`, `rules` and `elementwise` for what an aten operation is in our vocabulary;
`interfaces`, `cache` and `known` stand in for attention, experts, caches and the functions of a
model's own file; `fuse` joins what a vector unit does in one pass, `fold` keeps one layer of each
kind, `write` names everything; `run` is all of that in order. Only `workloads.from_transformers` is
meant to be imported from outside.
"""
