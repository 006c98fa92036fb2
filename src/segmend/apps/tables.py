"""Plain text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from segmend.core.sample import SAMPLE_TYPES, SPLITS


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """Columns padded to their widest cell; the first ``left`` go to the left, the others right."""
    cells = [[str(c) for c in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        [
            c.ljust(w) if i < left else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def count_rows(counts: Mapping[tuple[str, str], int]) -> list[tuple[str, list[int]]]:
    """Rows per sample type: its counts in each split and in all, and a last row of totals."""
    rows = []
    for kind in SAMPLE_TYPES:
        per_split = [counts.get((kind, split), 0) for split in SPLITS]
        rows.append((kind, [*per_split, sum(per_split)]))
    totals = [sum(values) for values in zip(*(values for _, values in rows), strict=True)]
    return [*rows, ("all", totals)]


def counts_table(counts: Mapping[tuple[str, str], int]) -> str:
    """Rows per sample type and split, with totals, as text."""
    rows = [[kind, *values] for kind, values in count_rows(counts)]
    return text_table(["sample type", *SPLITS, "all"], rows)


def percent(share: float) -> str:
    """A share in per cent, never 100 % or 0 % of what is not quite all or nothing."""
    if 0 < share < 0.0001:
        return "< 0.01 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.3g} %"
