"""The small machines of `peers.py`, in each peer's own format. Energies in pJ, words of 8 bits."""

from __future__ import annotations

SIZES = (512, 1024, 4096)  # of m, n and k
MIB = 8 * 2**20
ACCELFORGE = {  # levels, bits of the buffer, sizes; small ones, where what fits matters most
    "2 levels": (2, MIB, SIZES),
    "2 levels, 1 KiB": (2, 8192, (64,)),
    "3 levels": (3, MIB, SIZES),
    "3 levels, 2 KiB": (3, 2 * 8192, (64,)),
}

_MEMORY = """  - !Memory
    name: {name}
    size: {size}
    leak_power: 0
    area: 0
{more}    tensors: {{{tensors}}}
    actions:
    - {{name: read, energy: {energy}e-12, throughput: inf}}
    - {{name: write, energy: {energy}e-12, throughput: inf}}
"""
_MAC = """  - !Compute
    name: MAC
    leak_power: 0
    area: 0
    actions:
    - {name: compute, energy: 1e-12, throughput: 1e9}
"""
_SPREAD = "    spatial: [{name: X, fanout: 16}]\n"
_WORKLOAD = """workload:
  iteration_space_shape: {{m: 0 <= m < {m}, n: 0 <= n < {n}, k: 0 <= k < {k}}}
  bits_per_value: {{All: 8}}
  einsums:
  - name: Matmul
    tensor_accesses:
    - {{name: A, projection: [m, k]}}
    - {{name: B, projection: [k, n]}}
    - {{name: C, projection: [m, n], output: True}}
    renames: {{weight: B, input: A, output: C}}
"""


def accelforge_machine(levels: int, sizes: tuple[int, int, int], buffer_bits: int = MIB) -> str:
    """DRAM over a buffer; with three levels, over 16 units of 512 bytes. Any tensor may pass by the
    buffer."""
    m, n, k = sizes
    free = "keep: ~{above}, may_keep: All"
    parts = [
        _MEMORY.format(name="DRAM", size="inf", more="", energy=100, tensors="keep: All"),
        _MEMORY.format(
            name="Buffer",
            size=buffer_bits,
            more="",
            energy=1 if levels == 2 else 4,
            tensors=free.format(above="DRAM"),
        ),
    ]
    if levels == 3:
        parts.append(
            _MEMORY.format(
                name="Registers", size=8 * 512, more=_SPREAD, energy=0.25, tensors="keep: All"
            )
        )
    arch = "arch:\n  nodes:\n" + "".join([*parts, _MAC])
    return arch + _WORKLOAD.format(m=m, n=n, k=k)


_PORTS = """    ports:
    - {{name: rw_port_1, type: read_write, bandwidth_min: 8, bandwidth_max: {width},
       allocation: [{allocation}]}}
    served_dimensions: [{served}]
"""
_STORE = """  {name}:
    size: {size}
    r_cost: {cost}
    w_cost: {cost}
    area: 0
    latency: 1
    operands: [I1, I2, O]
"""
_ALL = [f'"{operand}, {way}"' for operand in ("I1", "I2", "O") for way in ("fh", "tl")]
_ALL += ['"O, fl"', '"O, th"']


def zigzag_machine(levels: int) -> str:
    """DRAM over 1 MiB over one multiplier; with three levels, 512 bytes between."""

    def store(name: str, bits: int, cost: float) -> str:
        ports = _PORTS.format(width=64, allocation=", ".join(_ALL), served="D1")
        return _STORE.format(name=name, size=bits, cost=cost) + ports

    parts = [store("registers", 8 * 512, 64 * 0.25)] if levels == 3 else []
    parts.append(store("buffer", 8 * 2**20, 64 * (1 if levels == 2 else 4)))
    parts.append(store("dram", 10**11, 64 * 100))
    array = (
        "operational_array:\n  unit_energy: 1\n  unit_area: 1\n  dimensions: [D1]\n  sizes: [1]\n"
    )
    return f"name: levels_{levels}\nmemories:\n" + "".join(parts) + array


def zigzag_layer(sizes: tuple[int, int, int]) -> str:
    """The matrix multiplication as a layer."""
    m, n, k = sizes
    return f"""- id: 0
  name: matmul
  operator_type: Gemm
  equation: O[b][k]+=I[b][c]*W[c][k]
  dimension_relations: []
  loop_dims: [B, K, C]
  loop_sizes: [{m}, {n}, {k}]
  operand_precision: {{O: 8, O_final: 8, W: 8, I: 8}}
  operand_source: {{I: 0, W: 0}}
"""


def zigzag_spatial(unrolled: str) -> str:
    """A mapping that fixes only what is unrolled."""
    return f"- name: default\n  spatial_mapping: {{{unrolled}}}\n" + (
        "  memory_operand_links: {O: O, W: I2, I: I1}\n"
    )


SCALESIM = """[general]
run_name = array

[architecture_presets]
ArrayHeight: 32
ArrayWidth: 32
IfmapSramSzkB: 1024
FilterSramSzkB: 1024
OfmapSramSzkB: 1024
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: ws
Bandwidth: 10
ReadRequestBuffer: 512
WriteRequestBuffer: 512

[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2

[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40

[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
SCALESIM_LAYOUT = "Layer," + "x," * 20 + "\nmatmul," + "1," * 20 + "\n"
