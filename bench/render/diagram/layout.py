"""Where each box of a panel stands, and its arrows and frames: rows from input to output, a column for every branch.

All places are in pixels. The size of a box is that of its lines of text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from xml.sax.saxutils import escape

from bench.quantity import quantity
from bench.structure import Edge, Node, Panel

FRAME_LABEL_SIZE = 10.0
_GAP = 20.0  # between rows
_FRAME_GAP = 36.0  # above a row where a frame with a label begins
_COLUMN_GAP = 18.0
_FRAME = 7.0  # from a box to its frame
_LANE, _FIRST_LANE = 12.0, 18.0  # between skips, and from the boxes to the first
_LEAVE, _ENTER = 7.0, 9.0  # how far below its source, and above its target, an arrow turns
_TEXT_LIMITS = {1: 230.0, 2: 190.0, 3: 150.0}  # number of columns -> where labels break
_MANY_COLUMNS_LIMIT = 125.0
_OVERVIEW_LIMIT = 260.0

Point = tuple[float, float]


@dataclass(frozen=True)
class PlacedBox:
    box: Box
    x: float  # left
    y: float  # top
    width: float
    height: float

    @property
    def middle(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True)
class Line:
    """An arrow around corners; it ends at its last point."""

    points: tuple[Point, ...]
    skips: bool


@dataclass(frozen=True)
class Frame:
    """The outline of a module that several boxes belong to; its label stands above it."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class Layout:
    left: float
    top: float
    width: float
    height: float
    boxes: tuple[PlacedBox, ...]
    lines: tuple[Line, ...]
    frames: tuple[Frame, ...]


def layout_of(panel: Panel, is_overview: bool) -> Layout:
    """Boxes in rows from top to bottom, skips in lanes beside them."""
    grid = grid_of(panel)
    limit = _OVERVIEW_LIMIT if is_overview else _TEXT_LIMITS.get(len(set(grid.columns)), _MANY_COLUMNS_LIMIT)
    boxes = [box_of(node, limit) for node in panel.nodes]
    groups = _framed_groups(panel, grid)
    placed = _placed(boxes, grid, panel, groups, uniform=is_overview)
    frames = [frame for group in groups if (frame := _frame(group, panel, placed))]
    lines = _Router(panel, grid, placed).lines()
    xs = [x for line in lines for x, _ in line.points]
    left = min([p.x for p in placed] + [f.x for f in frames] + xs)
    right = max(
        [p.x + p.width for p in placed]
        + [f.x + max(f.width, text_width(f.label, FRAME_LABEL_SIZE)) for f in frames]
        + xs
    )
    top = min([p.y for p in placed] + [f.y - FRAME_LABEL_SIZE - 4 for f in frames])
    bottom = max([p.y + p.height for p in placed] + [f.y + f.height for f in frames])
    return Layout(left, top, right - left, bottom - top, tuple(placed), tuple(lines), tuple(frames))


def _framed_groups(panel: Panel, grid: Grid) -> list[str]:
    """Groups of several boxes, and those of one that is a branch of its own with a plain name ("shortcut")."""
    members: dict[str, list[int]] = defaultdict(list)
    for n, node in enumerate(panel.nodes):
        if node.group:
            members[node.group].append(n)
    alone = {n for n, row in enumerate(grid.rows) if sum(b.start < row < b.end for b in grid.branches) == 1}
    return [
        group
        for group, nodes in members.items()
        if sum(panel.nodes[n].repeat for n in nodes) > 1 or ("." not in group and not alone.intersection(nodes))
    ]


def _placed(boxes: list[Box], grid: Grid, panel: Panel, groups: list[str], uniform: bool) -> list[PlacedBox]:
    widths: dict[int, float] = defaultdict(float)
    heights: dict[int, float] = defaultdict(float)
    for n, box in enumerate(boxes):
        widths[grid.columns[n]] = max(widths[grid.columns[n]], box.width)
        heights[grid.rows[n]] = max(heights[grid.rows[n]], box.height)
    left: dict[int, float] = {}
    x = 0.0
    for column in sorted(widths):
        left[column] = x
        x += widths[column] + _COLUMN_GAP
    top: dict[int, float] = {}
    y = 0.0
    begun: set[str] = set()
    for row in sorted(heights):
        starting = {panel.nodes[n].group for n, r in enumerate(grid.rows) if r == row}.intersection(groups) - begun
        begun |= starting
        y += (_FRAME_GAP if starting else _GAP) if row else 0.0
        top[row] = y
        y += heights[row]
    placed = []
    for n, box in enumerate(boxes):
        row, column = grid.rows[n], grid.columns[n]
        width = widths[column] if uniform and not (box.is_circle or box.is_pill) else box.width
        x = left[column] + (widths[column] - width) / 2
        placed.append(PlacedBox(box, x, top[row] + (heights[row] - box.height) / 2, width, box.height))
    for n, box in enumerate(boxes):
        if box.node.kind == "join" and not box.is_circle:
            placed[n] = _widened(n, placed, grid, panel)
    return placed


def _widened(join: int, placed: list[PlacedBox], grid: Grid, panel: Panel) -> PlacedBox:
    """A join as a bar under all that it reads, unless something else is in the way."""
    sources = [edge.source for edge in panel.edges if edge.target == join and edge.kind == "flow"]
    columns = {grid.columns[source] for source in sources} | {grid.columns[join]}
    beside = [c for c in range(min(columns), max(columns) + 1) if c != grid.columns[join]]
    if any(grid.is_crossed(grid.rows[join], range(c, c + 1)) for c in beside):
        return placed[join]
    under = [placed[join], *(placed[source] for source in sources if grid.rows[source] > 0)]
    x = min(one.x for one in under)
    return replace(placed[join], x=x, width=max(one.x + one.width for one in under) - x)


def _frame(group: str, panel: Panel, placed: list[PlacedBox]) -> Frame | None:
    """Around the group's boxes, unless others would lie inside."""
    members = [placed[n] for n, node in enumerate(panel.nodes) if node.group == group]
    x = min(one.x for one in members) - _FRAME
    y = min(one.y for one in members) - _FRAME
    right = max(one.x + one.width for one in members) + _FRAME
    bottom = max(one.y + one.height for one in members) + _FRAME
    for n, other in enumerate(placed):
        outside = other.x >= right or other.x + other.width <= x or other.y >= bottom or other.y + other.height <= y
        if panel.nodes[n].group != group and not outside:
            return None
    return Frame(x, y, right - x, bottom - y, clipped(group, FRAME_LABEL_SIZE, right - x))


@dataclass
class _Router:
    """Finds the corners of every arrow: within columns, through the gaps between rows, or in lanes at the side."""

    panel: Panel
    grid: Grid
    placed: list[PlacedBox]
    in_lanes: dict[int, list[tuple[int, bool]]] = field(default_factory=lambda: defaultdict(list))

    def lines(self) -> list[Line]:
        found = []
        for edge in self.panel.edges:
            points = None if edge.kind == "skip" else self._direct(edge.source, edge.target)
            if points:
                found.append(Line(points, skips=False))
            else:
                self.in_lanes[edge.source].append((edge.target, edge.kind == "skip"))
        return found + self._lane_lines()

    def _direct(self, source: int, target: int) -> tuple[Point, ...] | None:
        """Straight down, or down one of the two columns, if no box stands in the way."""
        rows, columns = self.grid.rows, self.grid.columns
        here, there = self.placed[source], self.placed[target]
        first, last = rows[source], rows[target]
        start, end = here.y + here.height, there.y
        narrow = source if here.width <= there.width else target
        x = self.placed[narrow].middle[0]
        if _spans(here, x) and _spans(there, x) and self.grid.is_free(columns[narrow], first, last):
            return (x, start), (x, end)
        ends_beside = there.box.node.kind == "join"
        if ends_beside and (points := self._down_source(source, target)):
            return points
        if self.grid.is_free(columns[target], first, last):
            turn = self._row_bottom(first) + _LEAVE
            x = there.middle[0]
            return (here.middle[0], start), (here.middle[0], turn), (x, turn), (x, end)
        return None if ends_beside else self._down_source(source, target)

    def _down_source(self, source: int, target: int) -> tuple[Point, ...] | None:
        """Down the column of the source, then across: to the side of an addition, else to the top."""
        column, last = self.grid.columns[source], self.grid.rows[target]
        if not self.grid.is_free(column, self.grid.rows[source], last):
            return None
        here, there = self.placed[source], self.placed[target]
        x, start = here.middle[0], here.y + here.height
        if there.box.is_circle and not self._crossed_beside(target, column):
            return (x, start), (x, there.middle[1]), _side(there, x)
        turn = self._row_top(last) - _ENTER
        return (x, start), (x, turn), (there.middle[0], turn), (there.middle[0], there.y)

    def _lane_lines(self) -> list[Line]:
        """One trunk beside the boxes for each source, with an arrow to everything that reads it from afar."""
        has_left, has_right = min(self.grid.columns) < 0, max(self.grid.columns) > 0
        to_left = has_right and not has_left
        edge = min(p.x for p in self.placed) if to_left else max(p.x + p.width for p in self.placed)
        rows = self.grid.rows
        trunks = sorted(
            self.in_lanes.items(), key=lambda item: (max(rows[t] for t, _ in item[1]) - rows[item[0]], item[0])
        )
        taken: list[list[tuple[int, int]]] = []
        lines = []
        for source, targets in trunks:
            span = rows[source], max(rows[target] for target, _ in targets)
            lane = next(
                (n for n, spans in enumerate(taken) if all(span[1] <= a or b <= span[0] for a, b in spans)), len(taken)
            )
            taken[lane:] = [[*taken[lane], span] if lane < len(taken) else [span], *taken[lane + 1 :]]
            away = _FIRST_LANE + _LANE * lane
            x = edge - away if to_left else edge + away
            lines += [Line(self._around(source, target, x), skips) for target, skips in targets]
        return lines

    def _around(self, source: int, target: int, x: float) -> tuple[Point, ...]:
        here, there = self.placed[source], self.placed[target]
        turn = self._row_bottom(self.grid.rows[source]) + _LEAVE
        start = (here.middle[0], here.y + here.height), (here.middle[0], turn), (x, turn)
        outermost = max(self.grid.columns) + 1 if x > here.x else min(self.grid.columns) - 1
        if not self._crossed_beside(target, outermost):
            return *start, (x, there.middle[1]), _side(there, x)
        above = self._row_top(self.grid.rows[target]) - _ENTER
        return *start, (x, above), (there.middle[0], above), (there.middle[0], there.y)

    def _crossed_beside(self, node: int, column: int) -> bool:
        own = self.grid.columns[node]
        between = range(own + 1, column) if column > own else range(column + 1, own)
        return self.grid.is_crossed(self.grid.rows[node], between)

    def _row_top(self, row: int) -> float:
        return min(p.y for p, r in zip(self.placed, self.grid.rows, strict=True) if r == row)

    def _row_bottom(self, row: int) -> float:
        return max(p.y + p.height for p, r in zip(self.placed, self.grid.rows, strict=True) if r == row)


def _spans(placed: PlacedBox, x: float) -> bool:
    return placed.x < x < placed.x + placed.width


def _side(there: PlacedBox, x: float) -> Point:
    """Where an arrow from `x` meets the box at half its height."""
    return (there.x if x < there.middle[0] else there.x + there.width), there.middle[1]


# --- Rows and columns ---


@dataclass(frozen=True)
class Branch:
    """Boxes in a row beside the longest path through the panel; it leaves below row `start` and ends above `end`."""

    nodes: tuple[int, ...]
    start: int
    end: int
    column: int  # 0 is the longest path itself


@dataclass(frozen=True)
class Grid:
    """Row and column of every node."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    branches: tuple[Branch, ...]

    def is_crossed(self, row: int, columns: range) -> bool:
        """A branch passes one of these columns beside that row, or a box stands there."""
        standing = any(r == row and c in columns for r, c in zip(self.rows, self.columns, strict=True))
        return standing or any(b.column in columns and b.start < row < b.end for b in self.branches)

    def is_free(self, column: int, after: int, before: int) -> bool:
        """No box stands in the column between the two rows."""
        return not any(c == column and after < r < before for r, c in zip(self.rows, self.columns, strict=True))


def grid_of(panel: Panel) -> Grid:
    """The longest path from input to output is column 0; branches are beside it, short ones nearer.

    A branch is on the left where a concatenation reads it before the longest path, else on the right.
    """
    reads: dict[int, list[int]] = defaultdict(list)
    read_by: dict[int, list[int]] = defaultdict(list)
    for edge in panel.edges:
        reads[edge.target].append(edge.source)
        read_by[edge.source].append(edge.target)
    rows = _rows(panel, reads)
    main = _longest_path(rows, reads)
    columns = [0] * len(rows)
    branches = [Branch(tuple(main), rows[main[0]], rows[main[-1]] + 1, 0)]
    waiting = []
    for nodes in _side_paths(len(rows), set(main), panel.edges):
        start = max((rows[source] for source in reads[nodes[0]]), default=0)
        ends = [rows[target] for target in read_by[nodes[-1]]]
        end = min(ends, default=max(rows))
        order, side = _at_join(panel, nodes[-1], set(main), read_by, reads)
        waiting.append((end - start, order, nodes, start, end, side))
    for _, _, nodes, start, end, side in sorted(waiting):
        column = side
        while any(b.column == column and b.start < end and start < b.end for b in branches):
            column += side
        branches.append(Branch(nodes, start, end, column))
        only_here = all(len(reads[node]) == 1 for node in nodes) and all(len(read_by[node]) == 1 for node in nodes)
        for place, node in enumerate(nodes):
            columns[node] = column
            if only_here:  # in the middle of the rows that the branch has for itself
                rows[node] = start + 1 + int((place + 0.5) * (end - start - 1) / len(nodes))
    return Grid(tuple(rows), tuple(columns), tuple(branches))


def _rows(panel: Panel, reads: dict[int, list[int]]) -> list[int]:
    rows: list[int] = []
    for node in range(len(panel.nodes)):
        rows.append(1 + max((rows[source] for source in reads[node]), default=-1))
    rows[-1] = max(rows[-1], max(rows[:-1], default=-1) + 1)
    return rows


def _longest_path(rows: Sequence[int], reads: dict[int, list[int]]) -> list[int]:
    path = [len(rows) - 1]
    while reads[path[-1]]:
        path.append(max(reads[path[-1]], key=lambda source: rows[source]))  # the first of equal ones
    return path[::-1]


def _side_paths(count: int, taken: set[int], edges: Sequence[Edge]) -> list[tuple[int, ...]]:
    """Nodes off the longest path, as far as they follow one another."""
    following: dict[int, list[int]] = defaultdict(list)
    for edge in edges:
        if edge.kind == "flow":
            following[edge.source].append(edge.target)
    taken = set(taken)
    paths = []
    for node in range(count):
        if node in taken:
            continue
        path = [node]
        taken.add(node)
        while (onward := next((n for n in following[path[-1]] if n not in taken), None)) is not None:
            path.append(onward)
            taken.add(onward)
        paths.append(tuple(path))
    return paths


def _at_join(
    panel: Panel, node: int, main: set[int], read_by: dict[int, list[int]], reads: dict[int, list[int]]
) -> tuple[int, int]:
    """The place of a branch among what the join at its end reads, and the side of its column: -1 or 1."""
    target = min(read_by[node], default=None)
    if target is None:
        return 0, 1
    order = reads[target].index(node)
    first_of_main = next((place for place, source in enumerate(reads[target]) if source in main), -1)
    return order, -1 if panel.nodes[target].label[0] == "concat" and order < first_of_main else 1


# --- The lines of text in a box, and the size that they need ---

LABEL_SIZE, DETAIL_SIZE = 12.0, 10.5
LABEL_LINE, DETAIL_LINE = 16.0, 14.0
BADGE = 18.0  # diameter of the circle with a panel's letter
CIRCLE = 22.0  # diameter of an addition
_PADDING = 8.0
_LONGEST = 300.0
# Widths of DejaVu Sans in em, rounded up by class: the widest of the fonts that the picture asks for, so that the
# others fit too.
_CLASSES = (
    ("ijlI|'", 0.3),
    (" ,.·", 0.33),
    ('ftr:;/!()[]{}-"', 0.42),
    ("cskvxyzJ?_*", 0.6),
    ("wG×→+=<>~^−÷", 0.84),
    ("mMW%@…", 1.0),
)
_WIDTHS = {char: width for chars, width in _CLASSES for char in chars}
_LOWER, _UPPER, _ELSE = 0.64, 0.79, 1.05  # other small letters and digits, other capitals, anything else


@dataclass(frozen=True)
class Box:
    """What is written in a box; widths and heights in pixels."""

    node: Node
    labels: tuple[str, ...]
    details: tuple[str, ...]
    badge: str  # the letter of the panel that shows the inside
    repeat: str  # "×18"
    width: float
    height: float

    @property
    def is_circle(self) -> bool:
        return self.node.kind == "join" and self.labels in (("+",), ("×",), ("−",), ("÷",))

    @property
    def is_pill(self) -> bool:
        return self.node.kind in ("input", "output")

    @property
    def left(self) -> float:
        """Room for the badge."""
        return BADGE + 6 if self.badge else 0.0

    @property
    def right(self) -> float:
        """Room for the count."""
        return text_width(self.repeat, LABEL_SIZE, bold=True) + 10 if self.repeat else 0.0


def box_of(node: Node, text_limit: float) -> Box:
    """The box of a node whose labels break at `text_limit`."""
    labels = tuple(wrapped([clipped(phrase, LABEL_SIZE, _LONGEST) for phrase in node.label], LABEL_SIZE, text_limit))
    details = _details(node, text_limit)
    badge = letter(node.panel) if node.panel else ""
    repeat = f"×{node.repeat}" if node.repeat > 1 else ""
    box = Box(node, labels, details, badge, repeat, CIRCLE, CIRCLE)
    if box.is_circle:
        return replace(box, details=())
    text = max(
        *(text_width(line, LABEL_SIZE, bold=node.kind == "block") for line in labels),
        *(text_width(line, DETAIL_SIZE) for line in details),
        0.0,
    )
    width = text + box.left + box.right + 2 * _PADDING
    height = LABEL_LINE * len(labels) + DETAIL_LINE * len(details) + _PADDING
    return replace(box, width=width, height=height)


def letter(panel: int) -> str:
    """A, B, ..., Z, AA, AB, ... for panels 1, 2, ...; the overview is 0 and has none."""
    name = ""
    while panel > 0:
        panel, digit = divmod(panel - 1, 26)
        name = chr(ord("A") + digit) + name
    return name


def shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _details(node: Node, width: float) -> tuple[str, ...]:
    if node.kind in ("input", "output"):
        return (shape_text(node.output_shape),) if node.output_shape else ()
    if node.kind in ("light", "join") and not node.params and not node.shared:
        return (shape_text(node.output_shape),) if node.label[0] in ("concat", "stack") else ()
    words = [shape_text(node.output_shape)] if node.output_shape else []
    if node.shared:
        words.append("shared weights")
    elif node.params:
        words.append(f"{quantity(node.params, 'count')} params")
    return tuple(wrapped(words, DETAIL_SIZE, width))


def text_width(text: str, size: float, bold: bool = False) -> float:
    """An upper estimate in the units of `size`."""
    em = sum(_WIDTHS.get(char) or _usual_width(char) for char in text)
    return em * size * (1.13 if bold else 1.0)


def _usual_width(char: str) -> float:
    if not char.isascii():
        return _ELSE
    return _LOWER if char.islower() or char.isdigit() else _UPPER


def wrapped(phrases: Sequence[str], size: float, width: float, between: str = " · ") -> list[str]:
    """The phrases on as few lines as the width allows, never broken within; a phrase that is wider has its own line."""
    lines: list[str] = []
    for phrase in phrases:
        longer = f"{lines[-1]}{between}{phrase}" if lines else phrase
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(phrase)
    return lines


def clipped(text: str, size: float, width: float, bold: bool = False) -> str:
    """`text` on one line, its end cut off where it is wider than `width`."""
    line = " ".join(text.split())
    if text_width(line, size, bold) <= width:
        return line
    while line and text_width(line + "…", size, bold) > width:
        line = line[:-1]
    return line.rstrip() + "…"


def written(text: str) -> str:
    """`text` as XML content or as an attribute in double quotes, without control characters."""
    return escape("".join(char if char.isprintable() else " " for char in text), {'"': "&quot;"})
