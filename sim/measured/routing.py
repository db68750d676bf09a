"""How many rows the experts of a measured layer get, on the fullest of the chips that share them.

    balanced       every expert the same, as far as there are rows
    random         every token picks on its own, all experts alike: quantiles of Binomial(T, k / E)
                   at the middles of E equal parts, so that E (1 - (1 - k/E)^T) have some
    power_law_a    shares x drawn from p(x) ~ x^-a, 1 <= x <= 0.8 T where there are more rows than
                   experts, else 0.01 <= x <= 2; here the middles of E equal parts of it:
                   x = (lo^(1-a) + u (hi^(1-a) - lo^(1-a)))^(1/(1-a))

for T tokens, k experts of each, E experts. Whole rows by largest remainders, no expert more than T.
The chips' experts are every ep-th, most rows first, so the fullest has the most popular one.
Source of the distributions: recalled, ai-dynamo/aiconfigurator collector/helper.py (Apache-2.0);
the draw itself, and which experts share a chip, are random there.
"""

from __future__ import annotations

import numpy as np

from kernels_ref.errors import UserError
from mappers.library.times import Values

BALANCED, RANDOM, POWER_LAW = "balanced", "random", "power_law_"


def fullest(distribution: str, tokens: int, picked: int, experts: int, chips: int) -> Values:
    """Rows of every expert of the fullest chip that has some. Raises UserError for a distribution
    that is unknown."""
    rows = np.sort(_rows(distribution, tokens, picked, experts))[::-1][::chips]
    return rows[rows > 0]


def _rows(distribution: str, tokens: int, picked: int, experts: int) -> Values:
    """Of all experts; they sum to tokens * picked."""
    if distribution == BALANCED:
        return _whole(np.ones(experts), tokens, picked)
    middles = (np.arange(experts)[::-1] + 0.5) / experts
    if distribution == RANDOM:
        return _whole(_quantiles(middles, tokens, picked / experts), tokens, picked)
    try:
        power = float(distribution.removeprefix(POWER_LAW))
    except ValueError:
        power = 0.0
    if not distribution.startswith(POWER_LAW) or power <= 0 or power == 1:
        raise UserError(
            f"distribution: '{distribution}'; write {BALANCED}, {RANDOM} or {POWER_LAW} and a power"
        )
    low, high = (1.0, max(1.0, 0.8 * tokens)) if tokens * picked > experts else (0.01, 2.0)
    ends = np.array([low, high]) ** (1 - power)
    return _whole((ends[0] + middles * (ends[1] - ends[0])) ** (1 / (1 - power)), tokens, picked)


def _quantiles(at: Values, tokens: int, chance: float) -> Values:
    """Of Binomial(tokens, chance)."""
    if chance >= 1:
        return np.ones_like(at)
    rows = np.arange(tokens + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(rows[1:]))])
    log_chance = factorials[-1] - factorials - factorials[::-1]
    log_chance += rows * np.log(chance) + rows[::-1] * np.log1p(-chance)
    found: Values = np.searchsorted(np.cumsum(np.exp(log_chance)), at).astype(float)
    return found


def _whole(shares: Values, tokens: int, picked: int) -> Values:
    """Whole rows in these shares, none above `tokens`; what is left over goes to the largest
    remainders in turn."""
    picked = min(picked, len(shares))
    wanted = np.minimum(shares / shares.sum() * tokens * picked, tokens)
    rows = np.floor(wanted)
    order = np.argsort(rows - wanted, kind="stable")
    while (left := int(tokens * picked - rows.sum())) > 0:
        free = order[rows[order] < tokens][:left]
        rows[free] += 1
    return rows
