"""What a run writes and everything else reads: records, the run folder, and records as a table of pandas.

`bench.records` is this package, and the function `bench.records(run)`: importing any of its modules binds the name in
`bench` to the package, so the package can be called. pandas is imported where a table is made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import msgspec

from bench.config import RequestError
from bench.records.record import Record
from bench.records.run_folder import Model, Run, find_run

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = tuple(each.name for each in fields(Record))
_ABOUT = "networks"  # the key in a frame's `attrs` of what is known of the networks themselves


def records(run: str | Path | Run, results_dir: str | Path = "results") -> pd.DataFrame:
    """Every number of a run, a row each, in the columns of records.jsonl; the newest of each.

    Args:
        run: its name, the path of its folder, or a run that is open.
        results_dir: where runs are.

    Raises:
        RunError: there is no such run, or it is damaged.
    """
    found = run if isinstance(run, Run) else find_run(str(run), Path(results_dir))
    return to_frame(found.records(), found.header.models)


def to_frame(rows: Iterable[Record], networks: Iterable[Model]) -> pd.DataFrame:
    """A row for each record. What is known of its networks is in `attrs`, for `from_frame`."""
    import pandas as pd

    frame = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
    for column in ("batch_size", "asked_batch_size", "trials"):
        frame[column] = frame[column].astype("Int64")
    frame["value"] = frame["value"].astype(float)
    frame.attrs[_ABOUT] = [msgspec.to_builtins(network) for network in networks]
    return frame


def from_frame(frame: pd.DataFrame) -> tuple[list[Record], list[Model]]:
    """The records of a frame, and what it knows of their networks.

    Raises:
        RequestError: it is not in the columns of records.
    """
    import pandas as pd

    missing = [column for column in ("model", "probe", "metric", "value", "unit", "status") if column not in frame]
    if missing:
        raise RequestError(f"this is no table of records: it has no column {missing[0]!r}")
    known = frame[[column for column in COLUMNS if column in frame]]
    rows = [
        {key: value for key, value in row.items() if isinstance(value, tuple | list) or not pd.isna(value)}
        for row in known.to_dict("records")
    ]
    try:
        return (
            [msgspec.convert({"value": None, **row}, Record, strict=False) for row in rows],
            msgspec.convert(frame.attrs.get(_ABOUT, []), list[Model]),
        )
    except ValueError as error:
        raise RequestError(f"this is no table of records: {error}") from None


class _Callable(ModuleType):
    __call__ = staticmethod(records)


sys.modules[__name__].__class__ = _Callable
