"""The style of the picture: a quiet fill for each kind of operation, in light and in dark.

Colours repeat what the words in the boxes say, so that nothing is lost to those who cannot tell them apart.
"""

from __future__ import annotations

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

# kind -> (fill, outline) on the light page, then on the dark one
_COLOURS = {
    "convolution": ("#d9e9f8", "#3b78b0", "#17324a", "#6aa9df"),
    "linear": ("#fbe6cb", "#b06a08", "#46300d", "#e0a144"),
    "attention": ("#f6dcec", "#a4457a", "#45203a", "#e08fbf"),
    "pooling": ("#d5f0e5", "#08805b", "#0f3a2c", "#4fc39b"),
    "light": ("#eef0f3", "#7d8894", "#252a30", "#8a94a0"),
    "reshape": ("#fefefe", "#7d8894", "#13161a", "#8a94a0"),
    "join": ("#faf3c4", "#867800", "#3c370f", "#cfbd4c"),
    "block": ("#e7e4f8", "#6456b4", "#2b2751", "#a99df0"),
    "other": ("#eef0f3", "#4d565f", "#252a30", "#b4bcc5"),
    "input": ("#fefefe", "#1b1f24", "#13161a", "#e6e9ed"),
    "output": ("#fefefe", "#1b1f24", "#13161a", "#e6e9ed"),
}
_INK = ("#1b1f24", "#59636e", "#fefefe", "#aab3bd")  # text, quiet text, paper, frames
_DARK_INK = ("#e6e9ed", "#9aa4b0", "#13161a", "#4a535d")


def style_sheet() -> str:
    """Rules that hold within `.nn-structure` only, so that they leave a page alone that the picture is part of."""
    rules = [
        f".nn-structure {{ font-family: {FONT}; {_variables(_INK, 0)} }}",
        ".nn-structure text { fill: var(--nn-ink); }",
        ".nn-structure .quiet { fill: var(--nn-quiet); }",
        ".nn-structure .paper { fill: var(--nn-paper); }",
        ".nn-structure .line { fill: none; stroke: var(--nn-quiet); stroke-width: 1.4; }",
        ".nn-structure .skip { stroke: var(--nn-ink); stroke-width: 2; }",
        ".nn-structure .tip { fill: var(--nn-ink); }",
        ".nn-structure .frame { fill: none; stroke: var(--nn-frame); stroke-dasharray: 4 3; }",
        ".nn-structure .rule { stroke: var(--nn-frame); }",
        ".nn-structure .badge { fill: var(--nn-block-line); }",
        ".nn-structure text.letter { fill: var(--nn-paper); }",
        *(f".nn-structure .{kind} {{ fill: var(--nn-{kind}); stroke: var(--nn-{kind}-line); }}" for kind in _COLOURS),
        ".nn-structure .reshape { stroke-dasharray: 3 2; }",
        f"@media (prefers-color-scheme: dark) {{ .nn-structure {{ {_variables(_DARK_INK, 2)} }} }}",
    ]
    return "\n".join(rules)


def _variables(ink: tuple[str, str, str, str], first: int) -> str:
    names = ("ink", "quiet", "paper", "frame")
    pairs = [f"--nn-{name}: {colour};" for name, colour in zip(names, ink, strict=True)]
    for kind, colours in _COLOURS.items():
        pairs += [f"--nn-{kind}: {colours[first]};", f"--nn-{kind}-line: {colours[first + 1]};"]
    return " ".join(pairs)
