"""JSON as this project writes it, checked as it is read: a damaged file is told from a sound one, not believed."""

from __future__ import annotations

import json
import math
from types import UnionType
from typing import Any, Literal, NoReturn, get_args, get_origin


def parsed(text: str | bytes) -> Any:
    """
    Raises:
        ValueError: it is not JSON, holds NaN or an infinity, or is nested beyond reason.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def fits(value: object, hint: Any) -> bool:
    """Whether a value read from JSON may be what a field is declared to be; a number is a finite one."""
    if isinstance(hint, UnionType):
        return any(fits(value, each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(fits(item, get_args(hint)[0]) for item in value)
    if hint is float:
        try:
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        except OverflowError:
            return False
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))
