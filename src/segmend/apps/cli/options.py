"""Options that several verbs share, declared once."""

from __future__ import annotations

import click

as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of text."
)
workers = click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Processes to use (default: SEGMEND_WORKERS, else the usable cores).",
)
overrides = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the plan."
)
