"""Records of a run as tables of numbers: one row per network, with what was published beside it."""
