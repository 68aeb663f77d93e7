"""Records of a run as tables of numbers: one row per network, and what was published."""
