"""The arithmetic of the datapaths: number formats and reference kernels. Imports no other
folder."""
