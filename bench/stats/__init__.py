"""Intervals, the sequential test, change points. Nothing here knows what is measured."""
