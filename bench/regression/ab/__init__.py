"""Two sides measured alternately: sides (what they are) -> worker (one process each) -> duel (until it is settled)."""
