"""Every figure of a report, drawn with matplotlib's objects: no pyplot and no global settings."""

from bench.render.charts.figure import Chart
from bench.render.charts.gallery import draw_charts

__all__ = ["Chart", "draw_charts"]
