"""What a training had spent when its test accuracy first reached a mark."""

from __future__ import annotations

from collections.abc import Sequence

from bench.training.curve import CurvePoint

CURRENCIES = ("seconds", "images", "flops")


def spent_to_reach(curve: Sequence[CurvePoint], top1: float) -> dict[str, float] | None:
    """By currency, on the straight line between the first test at or above `top1` and the test before it.

    Where the very first test is at or above it, what had been spent by then: nobody looked earlier. None where no test
    is.
    """
    before: tuple[float, dict[str, float]] | None = None
    for point in curve:
        if point.test_top1 is None:
            continue
        spent = {"seconds": point.seconds, "images": float(point.images), "flops": point.flops}
        if point.test_top1 < top1:
            before = point.test_top1, spent
        elif before is None:
            return spent
        else:
            lower, start = before
            share = (top1 - lower) / (point.test_top1 - lower)
            return {currency: start[currency] + share * (spent[currency] - start[currency]) for currency in CURRENCIES}
    return None
