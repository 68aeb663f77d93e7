"""Every figure of a report, drawn with matplotlib's objects: no pyplot and no global settings."""

from bench.render.charts.catalogue import Material
from bench.render.charts.draw import draw_charts
from bench.render.charts.figure import Chart

__all__ = ["Chart", "Material", "draw_charts"]
