"""Draw the figures of a report, those of a large run in several processes: matplotlib uses only one processor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.engines.engine import Crash
from bench.engines.local import LocalEngine
from bench.render.charts.figure import Chart, look
from bench.render.charts.gallery import Drawing, Material, drawings

_MANY = 12  # networks; the figures of fewer are drawn before a second process could help
_MOST = 8  # processes


def draw_charts(material: Material, processes: int | None = None) -> list[Chart]:
    """All figures of a report, in reading order; those that have nothing to show are left out.

    `processes`: None means as many as help.
    """
    artist = _Artist(material)
    if processes is None:
        processes = _processes(material)
    drawn = artist.shared_work(processes) if processes > 1 else [_draw(drawing) for drawing in artist.drawings]
    order = list(material.results.tracks())
    return sorted((chart for charts in drawn for chart in charts), key=lambda chart: order.index(chart.track))


def _processes(material: Material) -> int:
    return min(len(os.sched_getaffinity(0)), _MOST) if len(material.results.models) >= _MANY else 1


@dataclass(frozen=True)
class _Numbered:
    """A place in the list of drawings; the figures themselves do not travel, only what they are drawn from."""

    number: int
    group: str = "figures"


class _Artist:
    """The figures of one report; goes to each worker once."""

    def __init__(self, material: Material) -> None:
        self._material = material

    @cached_property
    def drawings(self) -> Sequence[Drawing]:
        return drawings(self._material)

    def __call__(self, task: _Numbered, device: str) -> list[Chart]:
        return _draw(self.drawings[task.number])

    def shared_work(self, processes: int) -> list[list[Chart]]:
        """All drawings in their order; what no worker has drawn, such as one that was killed, is drawn here."""
        engine: LocalEngine[_Numbered, list[Chart]] = LocalEngine(
            ["cpu"] * processes, _Artist(self._material), Path(os.devnull), [__name__]
        )
        drawn: dict[int, list[Chart]] = {}
        with suppress(OSError):  # no process can be started
            for task, outcome in engine.run([_Numbered(n) for n in range(len(self.drawings))], None, lambda *_: None):
                if not isinstance(outcome, Crash):
                    drawn[task.number] = outcome
        return [drawn[n] if n in drawn else _draw(drawing) for n, drawing in enumerate(self.drawings)]


def _draw(drawing: Drawing) -> list[Chart]:
    with look():
        charts = drawing()
    listed = [charts] if charts is None or isinstance(charts, Chart) else charts
    return [chart for chart in listed if chart is not None]
