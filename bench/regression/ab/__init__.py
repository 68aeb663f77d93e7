"""Two sides measured alternately: sides (what they are), run (their workers), paired (until it is settled)."""
