"""Every figure of a report, drawn with matplotlib's objects: no pyplot and no global settings.

`catalogue` says which figures a run gets; a file for each kind of figure draws it and ends in `frame.finished`.
"""

from bench.render.charts.catalogue import ReportData, draw_charts
from bench.render.charts.frame import Chart

__all__ = ["Chart", "ReportData", "draw_charts"]
