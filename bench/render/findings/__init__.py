"""Sentences computed from the tables, and the comparisons behind them."""
