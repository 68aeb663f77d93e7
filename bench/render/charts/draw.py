"""Draw the figures of a report, those of a large run in several processes: matplotlib uses only one processor."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench.render.charts.catalogue import Drawing, Material, drawings
from bench.render.charts.figure import Chart, look

_MANY = 12  # networks; the figures of fewer are drawn before a second process could help
_MOST = 8  # processes

# The child has its own interpreter: it needs nothing of the script that wants a report, and does not run it again.
_CHILD = f"from {__name__} import _serve; _serve()"


def draw_charts(material: Material, processes: int | None = None) -> list[Chart]:
    """All figures of a report, in reading order; those that have nothing to show are left out.

    `processes`: None means as many as help.
    """
    wanted = drawings(material)
    if processes is None:
        processes = min(os.cpu_count() or 1, _MOST) if len(material.results.models) >= _MANY else 1
    found: list[list[Chart] | None] = [None] * len(wanted)
    if processes > 1:
        ask = partial(_ask, pickle.dumps(material), processes)
        with ThreadPoolExecutor(processes) as pool:
            for part, drawn in enumerate(pool.map(ask, range(processes))):
                if drawn is not None:
                    found[part::processes] = drawn
    # What no process has drawn, such as one that was killed, is drawn here.
    complete = [_draw(drawing) if charts is None else charts for drawing, charts in zip(wanted, found, strict=True)]
    order = list(material.results.tracks())
    return sorted((chart for charts in complete for chart in charts), key=lambda chart: order.index(chart.track))


def _ask(material: bytes, processes: int, part: int) -> list[list[Chart]] | None:
    """Every so many-th drawing, from another process; None if it did not bring them."""
    command = [sys.executable, "-c", _CHILD, str(processes), str(part)]
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(command, input=material, capture_output=True, env={**os.environ, **paths}, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    drawn: list[list[Chart]] = pickle.loads(done.stdout)
    return drawn


def _serve() -> None:
    """The other end of `_ask`."""
    processes, part = int(sys.argv[1]), int(sys.argv[2])
    material: Material = pickle.load(sys.stdin.buffer)
    drawn = [_draw(drawing) for drawing in drawings(material)[part::processes]]
    sys.stdout.buffer.write(pickle.dumps(drawn))


def _draw(drawing: Drawing) -> list[Chart]:
    with look():
        charts = drawing()
    listed = [charts] if charts is None or isinstance(charts, Chart) else charts
    return [chart for chart in listed if chart is not None]
