"""What a board allows short runs beyond its limit, which is one of mean power over about a second.

Mean power that runs of t seconds without a pause may draw, a line in the logarithm of time down to
the limit at the window, as in the PCI Express card specification's power excursions (CEM 5.0):

    allowed(t) = limit (1 + excursion log10(window / t))         t from 0.1 ms to the window

and the most energy beyond the limit that this allows at any t is that at t = window / e:

    burst = limit excursion window log10(e) / e

so that a token bucket of so much, filled with the limit, is the tangent of the curve that lasts for
good: the least that bounds long runs (a concave bound is the least of its tangents: Le Boudec and
Thiran, "Network Calculus", 2001, sec. 1.2).
Not modeled: the tangents of shorter times, which bound what a bucket's first milliseconds draw;
thermal limits; the steps of a board's clock.
"""

from __future__ import annotations

from math import e, log10

from accel_models.design import Power

WINDOW_S = 1.0  # a board's limit is one of the mean over about as long (PCI Express CEM 5.0, NVML)
SHORTEST_S = 1e-4  # below which the allowance for short runs does not grow: as in the same table


def burst_j(power: Power) -> float:
    """Joules beyond the limit that a board which was idle may draw."""
    return power.limit * power.excursion * WINDOW_S * log10(e) / e
