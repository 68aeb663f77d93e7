"""Has anything become slower or worse? Two runs, many runs, or two sides measured in turns.

What an interval of a change means is one rule for all of them, and for exit statuses.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Literal

from bench.config import RequestError

if TYPE_CHECKING:  # worker.py imports this package, and scipy has no place there
    from bench.stats import Interval

MARGIN = 0.02  # smaller changes are no regression: two builds of the same code can differ by half as much

Zone = Literal["below", "within", "above", "unclear"]
Verdict = Literal["faster", "slower", "better", "worse", "higher", "lower", "same", "unclear"]

_TIMES = ("ms", "s", "images/s")  # units that get faster or slower


def zone(log_ratio: Interval, margin: float) -> Zone:
    """Say where a ratio lies significantly: off 1 by more than `margin` (0.02: 2 %), or within it; else "unclear".

    With a margin of zero, only the point 1 itself is "within".
    """
    low, high = log_ratio
    reach = math.log1p(margin)
    if low > reach:
        return "above"
    if high < -reach:
        return "below"
    return "within" if -reach <= low and high <= reach else "unclear"


def verdict(where: Zone, better: Literal["lower", "higher"] | None, unit: str) -> Verdict:
    """The zone of new / base as a verdict on a metric of which `better` is the good direction."""
    if where == "unclear":
        return "unclear"
    if where == "within":
        return "same"
    if better is None:
        return "higher" if where == "above" else "lower"
    good = (where == "above") == (better == "higher")
    if unit in _TIMES:
        return "faster" if good else "slower"
    return "better" if good else "worse"


def thresholds(margin: float, fail_on: float | None) -> tuple[float, ...]:
    """Log-ratios that matter: an interval of times that contains none of them is settled."""
    slower = [] if fail_on is None else [math.log1p(fail_on)]
    return (-math.log1p(margin), math.log1p(margin), *slower)


def parse_share(flag: str, word: str) -> float:
    """Read a percentage: "5%", "5" or "2.5 %" as 0.05, 0.05 or 0.025.

    Raises:
        RequestError: it is no percentage, or a bare number below 1, which may be meant as a share.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(%?)", word.strip())
    if match is None or (not match[2] and 0 < float(match[1]) < 1):
        raise RequestError(f"{flag} {word!r}: write a percentage such as 5%")
    return float(match[1]) / 100


def percent(log_ratio: float) -> str:
    """Write log(1.051) as "+5.1 %", log(35) as "+3,400 %", little as "+0.006 %", and what is not finite as "?"."""
    if not math.isfinite(log_ratio):
        return "?"
    change = 100 * math.expm1(log_ratio)
    digits = ",.0f" if abs(change) >= 100 else ".1f" if change == 0 or abs(change) >= 0.05 else ".1g"
    return f"{change:+{digits}} %".replace("-", "−")


def percent_range(log_ratio: Interval) -> str:
    """Write an interval as "−1.2 % to +3.4 %", and in words where an end is not known."""
    low, high = log_ratio
    if math.isfinite(low) and math.isfinite(high):
        return f"{percent(low)} to {percent(high)}"
    if math.isfinite(low):
        return f"at least {percent(low)}"
    return f"at most {percent(high)}" if math.isfinite(high) else "not known yet"
