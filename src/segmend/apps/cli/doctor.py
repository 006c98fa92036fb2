"""``segmend doctor``: what is installed, what works, what is missing."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata

import click

from segmend import __version__
from segmend.apps.cli.options import as_json
from segmend.apps.tables import text_table
from segmend.core.settings import settings

BASE = "base"
MISSING = "missing"


@click.command(epilog="Example: segmend doctor --json")
@as_json
def doctor(as_json: bool) -> None:
    """Say what is installed, what works, and what is missing.

    Exits with 3 if a package of the base install is missing; missing extras are only named.
    """
    packages = _packages()
    machine = _machine()
    missing = sorted({p["extra"] for p in packages if p["version"] == MISSING})
    if as_json:
        click.echo(json.dumps({"machine": machine, "packages": packages, "missing": missing}))
    else:
        click.echo(text_table(["machine", ""], [[k, v] for k, v in machine.items()]))
        click.echo("")
        rows = [[p["name"], p["extra"], p["version"]] for p in packages]
        click.echo(text_table(["package", "needed by", "version"], rows))
        for extra in missing:
            click.echo(f"to get {extra}: pip install 'segmend[{extra}]'")
    raise SystemExit(3 if BASE in missing else 0)


def _packages() -> list[dict[str, str]]:
    """Every declared dependency of the base install and of the extras users have."""
    found: list[dict[str, str]] = []
    for requirement in metadata.requires("segmend") or ():
        spec, _, marker = requirement.partition(";")
        name = _name(spec)
        extra = marker.partition("extra ==")[2].strip(" '\"") or BASE
        if name == "segmend" or extra in ("all", "dev", "bench"):
            continue
        found.append({"name": name, "extra": extra, "version": _version(name)})
    return found


def _name(spec: str) -> str:
    for i, character in enumerate(spec):
        if not (character.isalnum() or character in "-_."):
            return spec[:i]
    return spec


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return MISSING


def _machine() -> dict[str, str]:
    here = settings()
    cache = here.cache_dir
    usable = next(folder for folder in (cache, *cache.parents) if folder.exists())
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "segmend": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "workers": str(here.workers),
        "memory": f"{pages * page / 2**30:.1f} GiB",
        "cache": f"{cache} ({'writable' if os.access(usable, os.W_OK) else 'NOT writable'})",
    }
