"""Where each box of a panel stands: rows from input to output, a column for every branch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.structure.description import Edge, Panel


@dataclass(frozen=True)
class Branch:
    """Boxes in a row beside the longest way through the panel; it leaves below row `start` and ends above `end`."""

    nodes: tuple[int, ...]
    start: int
    end: int
    column: int  # 0 is the longest way itself


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
    """The longest way from input to output is column 0; branches are beside it, short ones nearer.

    A branch is on the left where a concatenation reads it before the longest way, else on the right.
    """
    reads: dict[int, list[int]] = defaultdict(list)
    read_by: dict[int, list[int]] = defaultdict(list)
    for edge in panel.edges:
        reads[edge.target].append(edge.source)
        read_by[edge.source].append(edge.target)
    rows = _rows(panel, reads)
    main = _longest_way(rows, reads)
    columns = [0] * len(rows)
    branches = [Branch(tuple(main), rows[main[0]], rows[main[-1]] + 1, 0)]
    waiting = []
    for nodes in _side_ways(len(rows), set(main), panel.edges):
        start = max((rows[source] for source in reads[nodes[0]]), default=0)
        ends = [rows[target] for target in read_by[nodes[-1]]]
        end = min(ends, default=max(rows))
        waiting.append((end - start, _order_at_join(nodes[-1], read_by, reads), nodes, start, end))
    for _, _, nodes, start, end in sorted(waiting):
        side = _side(panel, nodes[-1], set(main), read_by, reads)
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


def _longest_way(rows: Sequence[int], reads: dict[int, list[int]]) -> list[int]:
    way = [len(rows) - 1]
    while reads[way[-1]]:
        way.append(max(reads[way[-1]], key=lambda source: rows[source]))  # the first of equal ones
    return way[::-1]


def _side_ways(count: int, taken: set[int], edges: Sequence[Edge]) -> list[tuple[int, ...]]:
    """Nodes off the longest way, as far as they follow one another."""
    following: dict[int, list[int]] = defaultdict(list)
    for edge in edges:
        if edge.kind == "flow":
            following[edge.source].append(edge.target)
    taken = set(taken)
    ways = []
    for node in range(count):
        if node in taken:
            continue
        way = [node]
        taken.add(node)
        while (onward := next((n for n in following[way[-1]] if n not in taken), None)) is not None:
            way.append(onward)
            taken.add(onward)
        ways.append(tuple(way))
    return ways


def _order_at_join(node: int, read_by: dict[int, list[int]], reads: dict[int, list[int]]) -> int:
    target = min(read_by[node], default=None)
    return 0 if target is None else reads[target].index(node)


def _side(panel: Panel, node: int, main: set[int], read_by: dict[int, list[int]], reads: dict[int, list[int]]) -> int:
    target = min(read_by[node], default=None)
    if target is None or panel.nodes[target].label[0] != "concat":
        return 1
    sources = reads[target]
    first_of_main = next((place for place, source in enumerate(sources) if source in main), -1)
    return -1 if sources.index(node) < first_of_main else 1
