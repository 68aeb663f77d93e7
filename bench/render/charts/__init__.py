"""Every figure of a report, drawn with matplotlib's objects: no pyplot and no global settings."""

from bench.render.charts.figure import Chart
from bench.render.charts.gallery import Material
from bench.render.charts.studio import draw_charts

__all__ = ["Chart", "Material", "draw_charts"]
