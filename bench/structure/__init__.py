"""What a network looks like: its operations, blocks, branches and skips, found by running it once without data.

    ModelSpec → flow.trace → operations and what they read → panels.structure → Structure → render.diagram.draw → SVG

`description` holds the result and needs no torch.
"""
