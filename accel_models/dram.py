"""DRAM by kind: energy per bit, granularity, bandwidth, and its share at random runs of r bytes.

A channel (an HBM pseudo channel, a DDR5 or GDDR6 half) moves runs of n = ceil(r / granularity)
bursts, each run from a random row. Per run, whichever is busiest sets the pace:

bus         n t_burst + n min(w, 1 - w) / batch * turnaround        (w: share of writes)
activation  a max(tRRD, tFAW / 4)          a = 1 + (n - 1) granularity / row   (rows a run touches)
bank        a max(tRC, tRCD + n / a t_burst + tRP) / busy
            busy = banks (1 - (1 - 1 / banks)^queue), the banks that `queue` random runs keep busy
share       r / bandwidth / (the largest of them) * (1 - tRFC / tREFI)

Sources: timing as in Ramulator 2 (python/ramulator/dram), DRAMSys (LPDDR4) and DRAMsim3, which cite
JEDEC and makers; Jacob, Ng, Wang, "Memory Systems", ch. 11. Dead bus time of a write batch:
2 tCK + tWTR + read latency, as Ramulator 2's constraints have it.
Not modeled: bank-group gaps inside a run (runs are taken as spread over bank groups), per-bank
refresh (hides some of the refresh), ranks, command bus, power-down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

Kind = Literal[
    "ddr4", "ddr5", "lpddr4", "lpddr4x", "lpddr5", "lpddr5x", "gddr6", "gddr6x", "hbm2", "hbm2e",
    "hbm3", "hbm3e",
]  # fmt: skip

NS = 1e-9
QUEUE = 32  # runs in a controller's queue (guess; first-ready schedulers hold 32 to 64)
# Bursts of the rarer direction before the bus turns. Chosen with an A100's triad in view: 0.87 of
# the peak is measured, 32 bursts would give 0.77, 64 give 0.83.
BATCH = 64


@dataclass(frozen=True, slots=True)
class Timing:
    """A channel's timing in s; `turnaround`: dead bus time of one batch of writes among reads."""

    rc: float
    rcd: float
    rp: float
    rrd: float
    faw: float
    rfc: float
    refi: float
    turnaround: float


@dataclass(frozen=True, slots=True)
class Dram:
    """A kind. `rate`: bit/s of a pin. `energy`: J per bit of the device at mixed traffic, its I/O
    included, the host's PHY apart. `activate`: J per row opened, then `moved` is the rest per bit.
    """

    rate: float
    channel_bits: int
    channels: int  # of a package: an HBM stack, an LPDDR or GDDR device, a DIMM
    burst: int
    banks: int
    row_bytes: int
    timing: Timing
    energy: float
    source: str  # of the energy
    activate: float | None = None
    moved: float | None = None

    @property
    def granularity(self) -> int:
        """Bytes of one burst."""
        return self.channel_bits * self.burst // 8

    @property
    def channel_bandwidth(self) -> float:
        """Bytes/s of one channel."""
        return self.rate * self.channel_bits / 8

    @property
    def bandwidth(self) -> float:
        """Bytes/s of a package."""
        return self.channel_bandwidth * self.channels


def _ns(*values: float) -> Timing:
    return Timing(*(value * NS for value in values))


#              tRC    tRCD   tRP   tRRD  tFAW  tRFC  tREFI  turnaround
_DDR4 = _ns(46.25, 13.75, 13.75, 2.5, 21.25, 350, 7800, 17.5)  # 3200AA, 8 Gb x8
_DDR5 = _ns(46.2, 14.1, 14.1, 3.3, 20.0, 295, 3900, 18.3)  # 4800AN, 16 Gb x8
_LPDDR4 = _ns(60.5, 18.3, 18.3, 10.3, 40.3, 381, 3912, 30.0)  # 4266, 16 Gb (DRAMSys)
_LPDDR5 = _ns(61.25, 18.75, 18.75, 5.0, 20.0, 280, 3906, 30.0)  # 6400, 16 Gb
_GDDR6 = _ns(45.0, 14.8, 14.8, 4.0, 16.0, 120, 1900, 19.4)  # 1.75 GHz CK, 1.35 V
_HBM2 = _ns(47.5, 14.2, 14.2, 4.0, 15.0, 350, 3900, 22.5)  # 2400
_HBM3 = _ns(46.25, 16.25, 16.25, 5.0, 15.0, 350, 3900, 22.5)  # 6400

_LPDDR = "guess ±50%: LPDDR4's 4 pJ/bit (Dally et al., CACM 2020), less for lower I/O voltage"
_HBM = "O'Connor et al., Fine-Grained DRAM, MICRO 2017, table 3: 0.909 nJ a row, 3.48 pJ/bit"
_HBM2_KIND = Dram(2.4e9, 64, 16, 4, 16, 1024, _HBM2, 3.92e-12, f"paper: {_HBM}", 0.909e-9, 3.48e-12)
_LPDDR4_KIND = Dram(
    4.266e9, 16, 2, 16, 8, 2048, _LPDDR4, 4e-12, "paper ±50%: Dally et al., CACM 63(7), 2020"
)
_LPDDR5_KIND = Dram(6.4e9, 16, 2, 16, 16, 2048, _LPDDR5, 3.2e-12, _LPDDR)
_GDDR6_KIND = Dram(
    16e9, 16, 2, 16, 16, 2048, _GDDR6, 7.5e-12, "datasheet ±15%: Micron, ultra-bandwidth solutions"
)
_HBM3_KIND = replace(
    _HBM2_KIND,
    rate=6.4e9,
    channel_bits=32,
    channels=32,
    burst=8,
    timing=_HBM3,
    energy=3.9e-12,
    source="derived ±30%: HBM2's energies kept for HBM3",
)

KINDS: dict[str, Dram] = {
    "ddr4": Dram(
        3.2e9,
        64,
        1,
        8,
        16,
        8192,
        _DDR4,
        20e-12,
        "recalled ±30%: Jouppi et al., ISCA 2021, table 2 (1300 pJ per 64 bit, I/O included)",
    ),
    "ddr5": Dram(
        4.8e9, 32, 2, 16, 32, 4096, _DDR5, 15e-12, "guess ±50%: DDR4's, 1.1 V instead of 1.2 V"
    ),
    "lpddr4": _LPDDR4_KIND,
    "lpddr4x": replace(_LPDDR4_KIND, energy=3.6e-12, source=_LPDDR),
    "lpddr5": _LPDDR5_KIND,
    "lpddr5x": replace(_LPDDR5_KIND, rate=8.533e9, energy=2.8e-12),
    "gddr6": _GDDR6_KIND,
    "gddr6x": replace(_GDDR6_KIND, rate=21e9, energy=7.25e-12),
    "hbm2": _HBM2_KIND,
    "hbm2e": replace(
        _HBM2_KIND,
        rate=3.2e9,
        energy=4.3e-12,
        activate=None,
        moved=None,
        source="paper ±40%: Moon et al. (SK hynix), IEDM 2023, 4.3; Micron says 6.0",
    ),
    "hbm3": _HBM3_KIND,
    "hbm3e": replace(_HBM3_KIND, rate=9.2e9),
}

# The host's PHY and controller by family, J per bit, on the processor's die. Published apart from
# the device is only HBM2's I/O over the interposer, 0.3 of its 3.92 pJ (O'Connor).
HOST_PHY: dict[str, tuple[float, str]] = {
    "ddr": (2.0e-12, "guess ±50%: terminated 1.1 to 1.2 V I/O over a socket"),
    "lpddr": (1.0e-12, "guess ±50%: unterminated or 0.5 V I/O"),
    "gddr": (2.0e-12, "guess ±50%: 1.35 V I/O at 16 to 21 Gb/s"),
    "hbm": (0.6e-12, "guess ±50%: 1024 short wires on an interposer"),
}


def host_phy_j_per_bit(kind: str) -> float:
    """Energy of a bit in the processor's PHY and controller. Raises KeyError for unknown kinds."""
    if kind not in KINDS:
        raise KeyError(kind)
    return next(energy for family, (energy, _) in HOST_PHY.items() if kind.startswith(family))


def rows_touched(dram: Dram, run_bytes: float) -> float:
    """Rows that a run opens on average, starting at any granule. Not below one."""
    granules = ceil(run_bytes / dram.granularity)
    return 1 + (granules - 1) * dram.granularity / dram.row_bytes


def bandwidth_share(
    dram: Dram, run_bytes: float, writes: float = 0.0, queue: int = QUEUE, batch: int = BATCH
) -> float:
    """Useful bytes over what the channel could move, runs of `run_bytes` from random rows.

    `writes`: their share of the traffic; `queue`: runs waiting; `batch`: bursts between turns of
    the bus. Raises ValueError where an argument has no meaning.
    """
    if run_bytes <= 0 or not 0 <= writes <= 1 or queue < 1 or batch < 1:
        raise ValueError(f"run {run_bytes:g} B, writes {writes:g}, queue {queue}, batch {batch}")
    timing = dram.timing
    bursts = ceil(run_bytes / dram.granularity)
    burst_s = dram.granularity / dram.channel_bandwidth
    rows = rows_touched(dram, run_bytes)
    turning = bursts * min(writes, 1 - writes) / batch * timing.turnaround
    in_bank = max(timing.rc, timing.rcd + bursts / rows * burst_s + timing.rp)
    slowest = max(
        bursts * burst_s + turning,
        rows * max(timing.rrd, timing.faw / 4),
        rows * in_bank / busy_banks(dram, queue),
    )
    refreshing = timing.rfc / timing.refi
    return run_bytes / dram.channel_bandwidth / slowest * (1 - refreshing)


def busy_banks(dram: Dram, queue: int) -> float:
    """Distinct banks that `queue` runs in random banks address."""
    return dram.banks * (1 - (1 - 1 / dram.banks) ** queue)


def energy_per_bit(dram: Dram, run_bytes: float) -> float:
    """J per useful bit in the device: rows opened for it (where published) and whole bursts moved.

    Kinds without a published row energy only pay for the unused part of their bursts.
    """
    granules = ceil(run_bytes / dram.granularity)
    moved = granules * dram.granularity / run_bytes
    if dram.activate is None or dram.moved is None:
        return dram.energy * moved
    opening = rows_touched(dram, run_bytes) * dram.activate / (8 * run_bytes)
    return dram.moved * moved + opening
