"""The structure of a network as one SVG picture: overview on the left, the inside of its blocks on the right."""

from bench.render.diagram.picture import draw, style_sheet

__all__ = ["draw", "style_sheet"]
