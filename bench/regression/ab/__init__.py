"""Two sides measured alternately: sides (what they are, their workers), paired (until it is settled)."""
