"""SCALE-Sim's configuration and topologies.

A systolic array whose folds do not overlap (`weight_preload: none`), over three scratchpads, each
of one operand and double-buffered, over DRAM. A word is a byte there; `Bandwidth` is words a cycle
from DRAM, where `InterfaceBandwidth` is USER. A convolution becomes the matrix multiplication that
SCALE-Sim makes of it: output pixels x filters x window. Source: scalesim 3.0.0, scale_config.py and
topology_utils.py.
"""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from math import ceil
from pathlib import Path

from accel_models.explain import nearest
from accel_models.reader import Place
from sim.importers.foreign import ForeignFileError, read_text
from sim.importers.imported import Imported, imported
from sim.importers.machine import Machine, Macs, Notes, Store, Systolic
from sim.importers.ranks import MATMUL, Workload

CLOCK_HZ = 1e9
DATAFLOWS = ("ws", "os", "is")
PADS = (("ifmapsramszkb", "activation"), ("filtersramszkb", "weight"), ("ofmapsramszkb", "output"))
NEEDED = ["arrayheight", "arraywidth", "dataflow", *(key for key, _ in PADS)]
USED = {"run_name", "bandwidth", "interfacebandwidth", *NEEDED}
_SECTION, _PAIR = re.compile(r"\[\s*(\w+)\s*\]"), re.compile(r"([^:=]+?)\s*[:=]\s*(.*)")
Settings = dict[str, tuple[str, str, Place]]  # key in lower case -> as written, value, place


def read(files: list[Path]) -> Imported:
    """The machine, and the layers of the topologies. Raises ForeignFileError."""
    configs = [file for file in files if file.suffix.lower() != ".csv"]
    if len(configs) != 1:
        raise ForeignFileError(f"{files[0]}: {len(configs)} configurations (.cfg); give one")
    notes = Notes()
    settings = _settings(configs[0])
    works = [work for file in files if file not in configs for work in layers_of(file, notes)]
    machine = _machine(configs[0].stem, settings, notes)
    for key, (written, value, place) in settings.items():
        if key not in USED:
            notes.drop(place, f"{written}: {value}", "nothing here corresponds to it")
    result = imported(machine, works, notes)
    matrix = result.design["cores"]["core"]["matrix"]
    notes.carry(machine.macs.place, "Dataflow", f"{matrix['dataflow']}, weight_preload: none")
    return result


def _settings(file: Path) -> Settings:
    """Every `key: value` of the file, whatever its section."""
    found: Settings = {}
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        text, place = re.split(r"[#;]", line, maxsplit=1)[0].strip(), Place(str(file), number)
        if not text or _SECTION.fullmatch(text):
            continue
        pair = _PAIR.fullmatch(text)
        if not pair:
            raise ForeignFileError(f"{place}: '{text}' is neither a [section] nor a key: value")
        if pair[1].lower() in found:
            raise ForeignFileError(f"{place}: {pair[1]} is given twice")
        found[pair[1].lower()] = (pair[1], pair[2].strip(), place)
    missing = [key for key in NEEDED if key not in found]
    if missing:
        near = nearest(missing[0], list(found)) if found else "the file is empty"
        raise ForeignFileError(f"{file}:1: missing key '{missing[0]}'; {near}")
    return found


def _whole(settings: Settings, key: str) -> int:
    written, value, place = settings[key]
    if not value.isdigit() or int(value) < 1:
        raise ForeignFileError(f"{place}: {written}: must be a whole number above 0, not '{value}'")
    return int(value)


def _machine(name: str, settings: Settings, notes: Notes) -> Machine:
    written, dataflow, place = settings["dataflow"]
    if dataflow.lower() not in DATAFLOWS:
        known = ", ".join(DATAFLOWS)
        raise ForeignFileError(f"{place}: {written}: '{dataflow}'; known: {known}")
    rows, cols = _whole(settings, "arrayheight"), _whole(settings, "arraywidth")
    at = settings["arrayheight"][2]
    pads = []
    for key, operand in PADS:
        label, _, where = settings[key]
        size = _whole(settings, key) * 1024 * 8.0
        pad = Store(re.sub("sramszkb", "_sram", label.lower()), where, "sram", capacity_bits=size)
        # sums are read and written in the same cycle; what feeds the array comes from its own pad
        pads.append(
            replace(pad, keeps=(operand,), buffering="double", shared_port=operand != "output")
        )
    rate = _bandwidth(settings, notes)
    dram = Store("dram", at, "dram", read_bits_per_s=rate, write_bits_per_s=rate)
    array = Systolic(rows, cols, dataflow.lower(), "none")
    macs = Macs("array", at, bits=(8, 8, None))
    notes.assume(at, "words", "a word is a byte there: int8, with sums of 32 bits")
    run = settings.get("run_name", ("", "", at))[1].strip("\"'")
    return Machine("SCALE-Sim", run or name, (dram, *pads), macs, None, None, None, array)


def _bandwidth(settings: Settings, notes: Notes) -> float | None:
    """Of DRAM, in bits a second, where the file fixes it."""
    mode = settings.get("interfacebandwidth", ("", "CALC", None))[1].upper()
    if "bandwidth" not in settings:
        return None
    written, value, place = settings["bandwidth"]
    if mode != "USER":
        notes.drop(
            place, f"{written}: {value}", "InterfaceBandwidth is not USER: it is not used there"
        )
        return None
    words = [float(word) for word in re.findall(r"\d+(?:\.\d+)?", value)]
    if not words or min(words) <= 0:
        raise ForeignFileError(f"{place}: {written}: must be words a cycle, not '{value}'")
    if len(words) > 1:
        notes.drop(
            place, f"{written}: {value}", "one for each operand there; DRAM has one, the first"
        )
    return words[0] * 8 * CLOCK_HZ


def layers_of(file: Path, notes: Notes) -> list[Workload]:
    """The layers of a topology: rows of M, N, K, or of a convolution's sizes."""
    rows = list(csv.reader(read_text(file).splitlines()))
    if not rows:
        raise ForeignFileError(f"{file}:1: the topology is empty")
    head = [cell.strip().lower() for cell in rows[0]]
    gemm = head[1:4] == ["m", "n", "k"]
    found = []
    for number, row in enumerate(rows[1:], start=2):
        cells = [cell.strip() for cell in row if cell.strip()]
        if cells:
            place = Place(str(file), number)
            found.append(_layer(cells, gemm, place, notes))
    return found


def _layer(cells: list[str], gemm: bool, place: Place, notes: Notes) -> Workload:
    wanted = 4 if gemm else 8
    sizes = [cell for cell in cells[1:wanted] if cell.isdigit() and int(cell) > 0]
    if len(sizes) != wanted - 1:
        what = (
            "Layer, M, N, K"
            if gemm
            else "Layer, IFMAP h, w, filter h, w, channels, filters, stride"
        )
        raise ForeignFileError(f"{place}: a row must have whole numbers for {what}")
    for extra in cells[wanted:]:
        if extra != "1:1":
            notes.drop(place, f"{cells[0]}: {extra}", "sparsity is not carried over")
    numbers = [int(size) for size in sizes]
    if gemm:
        m, n, k = numbers
        return replace(MATMUL, name=cells[0], ranks={"m": m, "n": n, "k": k})
    height, width, rows, cols, channels, filters, stride = numbers
    if rows > height or cols > width:
        raise ForeignFileError(f"{place}: the filter is larger than its input")
    pixels = ceil((height - rows + stride) / stride) * ceil((width - cols + stride) / stride)
    what = f"convolution {cells[0]}"
    notes.drop(
        place, what, "a matrix multiplication, as SCALE-Sim makes of it: no reuse of the halo"
    )
    ranks = {"m": pixels, "n": filters, "k": rows * cols * channels}
    return replace(MATMUL, name=cells[0], ranks=ranks)
