"""Early layers against late ones: where the parameters, the MACs and the bytes that training keeps sit."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bench.quantity import quantity
from bench.render.charts.figure import Chart, save_png, save_svg
from bench.render.charts.palette import PAPER
from bench.render.charts.rows import row_figure, scale_from_zero
from bench.render.results.header import Model
from bench.render.results.layer_costs import THIRDS, Layers
from bench.render.tables.subtitles import track_conditions

_PANELS = {"params": "Parameters", "macs": "MACs", "saved_activation_bytes": "Saved activations"}
_SHADES = ("#0f4c75", "#2ca1e9", "#b5def7")  # of one hue: from dark to light on a grey print too

Thirds = tuple[float, float, float]


def early_late_chart(models: Sequence[Model], layers: Mapping[str, Layers], stem: str) -> Chart | None:
    """Stacked bars of the three thirds of each network's depth; None with fewer than two networks."""
    known = {model: _shares(layers.get(model.name)) for model in models}
    shown = [model for model, shares in known.items() if shares is not None]
    if len(shown) < 2:
        return None
    title = "Where parameters, MACs and saved activations sit"
    legend = [Patch(color=shade, label=words) for shade, words in zip(_SHADES, THIRDS, strict=True)]
    figure, panels = row_figure(
        shown, title, f"{track_conditions(shown)} · thirds of the layers that multiply", tuple(_PANELS.values()), legend
    )
    middles = []
    for axes, (column, words) in zip(panels, _PANELS.items(), strict=True):
        parts = [shares[column] for model in shown if (shares := known[model]) is not None]
        _stack(axes, parts)
        middles.append(
            f"{quantity(statistics.median(first for first, _, _ in parts), 'fraction', 2)} of the {words.lower()}"
        )
    middles = [words.replace("macs", "MACs") for words in middles]
    said = f"In the median network, the first third of the layers has {', '.join(middles[:-1])} and {middles[-1]}."
    return Chart(
        name=f"{stem}-early-late",
        kind="early_late",
        track=models[0].track,
        title=title,
        alt=(
            f"Stacked bars of the shares of parameters, MACs and saved activations in each third of the depth of "
            f"{len(shown)} networks. {said}"
        ),
        caption=said,
        svg=save_svg(figure),
        png=save_png(figure),
    )


def _shares(layers: Layers | None) -> dict[str, Thirds] | None:
    """By column; None unless all are known."""
    found = {column: layers.thirds(column) if layers else None for column in _PANELS}
    whole = {column: thirds for column, thirds in found.items() if thirds is not None}
    return whole if len(whole) == len(_PANELS) else None


def _stack(axes: Axes, parts: Sequence[Thirds]) -> None:
    left = [0.0] * len(parts)
    for third, shade in enumerate(_SHADES):
        sizes = [part[third] for part in parts]
        axes.barh(range(len(parts)), sizes, left=left, height=0.72, linewidth=0.4, edgecolor=PAPER, color=shade)
        left = [start + size for start, size in zip(left, sizes, strict=True)]
    scale_from_zero(axes, 0.99, "fraction")
