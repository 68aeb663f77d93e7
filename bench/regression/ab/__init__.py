"""Two sides measured alternately: sides (what they are), process (their workers), paired (until it is settled)."""
