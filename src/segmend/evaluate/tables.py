"""Results for people: plain text and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from segmend.evaluate.compare import Comparison
from segmend.evaluate.leaderboard import Board, Figure
from segmend.evaluate.result import Result, Score


def result_text(result: Result) -> str:
    """One result as plain text."""
    lines = [
        f"{result.model} ({result.run}) on {result.task} v{result.task_version}",
        f"{result.benchmark} [{result.benchmark_sha256[:12]}], split {result.split}",
        f"accepted leaks: {', '.join(result.accepted_leaks) or 'none'}",
        counts(result),
        "",
        f"{'':<44}{'score':>8}{f'{result.level:.0%} interval':>19}{'chance':>9}",
        *(_line(plain(s.name), s) for s in result.scores),
        "",
        *(_line(f"{g.species} {g.sample_type} (n={g.n_rows})", g.score) for g in result.groups),
    ]
    notes = result_notes(result)
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def result_markdown(result: Result) -> str:
    """One result as Markdown."""
    head = (
        f"**{result.model}** ({result.run}) on {result.task} v{result.task_version}; "
        f"{result.benchmark} `{result.benchmark_sha256[:12]}`, split {result.split}; "
        f"accepted leaks: {', '.join(result.accepted_leaks) or 'none'}; {counts(result)}.\n"
    )
    columns = ("metric", "score", f"{result.level:.0%} interval", "chance")
    rows = [(plain(s.name), *cells(s), _number(s.chance)) for s in result.scores]
    groups = [
        (f"{g.species} {g.sample_type} {g.score.name} (n={g.n_rows})", *cells(g.score), "")
        for g in result.groups
    ]
    notes = [f"\n{note}\n" for note in result_notes(result)]
    return "\n".join([head, markdown_table(columns, [*rows, *groups]), *notes])


def board_columns(board: Board) -> tuple[str, ...]:
    """Heads of the columns of a board."""
    return ("model", "run", *(plain(name) for name in _metrics_of(board)))


def board_rows(board: Board) -> list[tuple[str, ...]]:
    """One row a result with every score and its interval, then chance, then published figures."""
    names = _metrics_of(board)
    rows = [
        (result.model, result.run, *(_board_cell(result, name) for name in names))
        for result in board.results
    ]
    levels = {s.name: _number(s.chance) for result in board.results for s in result.scores}
    chance = ("chance", "", *(levels[name] for name in names))
    figures = [
        (figure.name, figure.data, *(_figure_cell(figure, name) for name in names))
        for figure in board.figures
    ]
    return [*rows, chance, *figures]


def board_title(board: Board) -> str:
    """What the results of a board have in common."""
    first = board.results[0]
    return (
        f"{board.task} v{board.task_version} on {board.benchmark} "
        f"[{board.benchmark_sha256[:12]}], split {board.split}, {counts(first)}, accepted leaks: "
        f"{', '.join(board.accepted_leaks) or 'none'}"
    )


def board_notes(board: Board) -> list[str]:
    """What a reader must know to read a board."""
    sources = sorted({f"{f.name}: {f.source}" for f in board.figures})
    notes = [
        f"Sorted by {plain(board.metric)}; in brackets the {board.results[0].level:.0%} interval."
    ]
    if board.results[0].few_clusters:
        notes.append(
            f"Only {board.results[0].n_clusters} neurons: intervals are likely too narrow."
        )
    if sources:
        notes.append(f"Published figures are on other data. {'. '.join(sources)}.")
    return notes


def board_markdown(board: Board) -> str:
    """A board as Markdown."""
    table = markdown_table(board_columns(board), board_rows(board))
    return "\n".join([f"### {board_title(board)}\n", table, *board_notes(board)]) + "\n"


def board_text(board: Board) -> str:
    """A board as plain text, its sorting metric first."""
    rows = [("", plain(board.metric), "interval")]
    for result in board.results:
        rows.append((f"{result.model} ({result.run})", *cells(result.score(board.metric))))
    level = board.results[0].score(board.metric).chance
    rows.append(("chance", _number(level) or "-", ""))
    rows += [(f"{f.name}, {f.data}", f"{f.value:.3f}", "published") for f in board.figures]
    width = max(len(name) for name, _, _ in rows) + 2
    table = [f"{name:<{width}}{value:>18}{ends:>19}".rstrip() for name, value, ends in rows]
    lines = [board_title(board), *table]
    return "\n".join([*lines, *board_notes(board)]) + "\n"


def _metrics_of(board: Board) -> list[str]:
    return list(dict.fromkeys(s.name for result in board.results for s in result.scores))


def _board_cell(result: Result, name: str) -> str:
    score = next((each for each in result.scores if each.name == name), None)
    if score is None or score.value is None:
        return "-"
    ends = "" if score.low is None else f" [{score.low:.3f}, {score.high:.3f}]"
    return f"{score.value:.3f}{ends}"


def _figure_cell(figure: Figure, name: str) -> str:
    return f"{figure.value:.3f}" if figure.metric == name else ""


def comparison_text(comparison: Comparison) -> str:
    """A comparison as plain text."""
    title = (
        f"{comparison.model} ({comparison.run}) minus {comparison.other_model} "
        f"({comparison.other_run}), {comparison.task}, same {comparison.n_rows} rows of "
        f"{comparison.n_clusters} neurons"
    )
    lines = [
        title,
        f"{'':<44}{'gain':>8}{f'{comparison.level:.0%} interval':>19}",
        *(_line(plain(d.name), d) for d in comparison.differences),
    ]
    return "\n".join(lines) + "\n"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(_escaped(c) for c in line)} |\n" for line in lines)


def cells(score: Score) -> tuple[str, str]:
    """Value and interval of a score, or why there is none."""
    ends = "" if score.low is None else f"{score.low:.3f} to {score.high:.3f}"
    return _number(score.value) or "-", ends or score.reason


def counts(result: Result) -> str:
    """How many rows and neurons stand behind a result."""
    positives = "" if result.n_positives is None else f", {result.n_positives} positive"
    alone = f" ({result.n_unclustered} rows without one)" if result.n_unclustered else ""
    return f"{result.n_rows} rows{positives}, {result.n_clusters} neurons{alone}"


def result_notes(result: Result) -> list[str]:
    """What a reader must know to read the numbers."""
    notes = []
    if result.few_clusters:
        notes.append(f"Only {result.n_clusters} neurons: the intervals are likely too narrow.")
    if result.temperature is not None:
        notes.append(f"Calibrated with temperature {result.temperature:.3g}, fitted elsewhere.")
    if result.base_rate is not None:
        notes.append(f"Precision at base rate supposes a share of {result.base_rate:g} positives.")
    return notes


def plain(name: str) -> str:
    """A metric's name for people."""
    return name.replace("_", " ")


def _line(name: str, score: Score) -> str:
    value, ends = cells(score)
    if score.low is None:
        ends = "-"
    reason = f"  {score.reason}" if score.reason else ""
    return f"{name:<44}{value:>8}{ends:>19}{_number(score.chance):>9}{reason}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
