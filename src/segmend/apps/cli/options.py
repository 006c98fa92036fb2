"""Options that several verbs share, declared once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from segmend.core.box import Box
from segmend.core.errors import BadInputError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of text."
)
workers = click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Processes to use (default: SEGMEND_WORKERS, else the usable cores).",
)
engine = click.option(
    "--engine",
    default="auto",
    show_default=True,
    help="serial, processes, dask (this machine) or dask://HOST:PORT (a running scheduler).",
)
packed = click.option(
    "--packed",
    type=click.Path(path_type=Path),
    help="Packed cache to read from (default: BENCHMARK.packed, where it is up to date).",
)
overrides = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the plan."
)


def voxels(name: str, default: tuple[int, int, int], doc: str, *, least: int = 1) -> Decorator:
    """An option of three voxel counts, ``(z, y, x)``.

    Args:
        name: With its dashes.
        default: Where it is not given.
        doc: Its help.
        least: Smallest count.
    """
    return click.option(
        name,
        nargs=3,
        type=click.IntRange(least),
        default=default,
        show_default=True,
        metavar="Z Y X",
        help=doc,
    )


def box_of(text: str) -> Box:
    """A box from ``z0:z1,y0:y1,x0:x1`` in nm.

    Raises:
        BadInputError: if the text is none.
    """
    spans = [span.split(":") for span in text.split(",")]
    try:
        (z0, z1), (y0, y1), (x0, x1) = (_numbers(span) for span in spans)
    except ValueError as error:
        raise BadInputError(
            f"'{text}' is not a box",
            fix="Write z0:z1,y0:y1,x0:x1 in nm, for example 0:4000,1000:2000,1000:2000",
        ) from error
    return Box((z0, y0, x0), (z1, y1, x1))


def _numbers(span: Sequence[str]) -> tuple[float, float]:
    low, high = map(float, span)
    return low, high
