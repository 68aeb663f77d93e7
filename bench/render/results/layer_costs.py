"""Where in a network its parameters, MACs and saved bytes sit, from what a run kept of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.records.run_folder import Run
from bench.render.results.curves import read_tables
from bench.render.results.header import Model

NUMBERS = ("params", "macs", "activations", "saved_activation_bytes")
COLUMNS = ("layer", "operation", "output_shape", *NUMBERS)
THIRDS = ("first third", "middle third", "last third")


@dataclass(frozen=True)
class Layers:
    """The calls of a network in their order, a row each, with the columns of `COLUMNS`."""

    model: str
    rows: pd.DataFrame

    def thirds(self, column: str) -> tuple[float, float, float] | None:
        """Shares of a column in the first, middle and last third of the layers that multiply; None where it is all 0.

        What lies between two such layers belongs to the one before it.
        """
        total = float(self.rows[column].sum())
        multiplies = self.rows["macs"] > 0
        count = int(multiplies.sum())
        if total <= 0 or count == 0:
            return None
        place = (multiplies.cumsum() - 1).clip(lower=0)
        third = (3 * place) // count
        first, middle, last = (float(self.rows[column][third == number].sum()) / total for number in range(3))
        return first, middle, last

    def share(self, column: str, operation: str) -> float:
        """Of the calls of one kind of module, such as "Linear"."""
        total = float(self.rows[column].sum())
        return float(self.rows[column][self.rows["operation"] == operation].sum()) / total if total else 0.0


def read_layers(run: Run, models: Sequence[Model]) -> tuple[Mapping[str, Layers], list[str]]:
    """Of the networks that the run kept them of, and the names of the files that cannot be read."""
    paths = {model.name: run.layers_path(model.file_name) for model in models}  # of two kinds of hardware: one file
    found, unreadable = read_tables(dict.fromkeys(paths.values()), COLUMNS, _rows)
    return {name: Layers(name, found[path]) for name, path in paths.items() if path in found}, unreadable


def _rows(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.astype(dict.fromkeys(NUMBERS, float))
    return rows.assign(output_shape=rows["output_shape"].map(tuple))
