"""Has anything become slower or worse? Two runs, many runs, or two sides measured in turns."""
