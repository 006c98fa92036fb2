"""One HTML file that loads nothing else."""

from __future__ import annotations

import base64
import io
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from segmend import __version__
from segmend.core.errors import OutputError, require
from segmend.store.atomic import atomic_file

if TYPE_CHECKING:
    from markupsafe import Markup


def write_page(out: Path, package: str, **facts: Any) -> None:
    """Fill in the ``template.html`` of a package, which extends ``base.html``, and write it.

    Args:
        out: HTML file to write, whole or not at all.
        package: Package with the template.
        **facts: Names of the template; none may be missing.

    Raises:
        MissingDependencyError: if the extra ``report`` is not installed.
        OutputError: if the file cannot be written.
    """
    require("jinja2", extra="report")
    import jinja2

    check_folder(out)
    texts = {"base.html": _text("segmend.apps.pages", "base.html")}
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, loader=jinja2.DictLoader(texts)
    )
    template = environment.from_string(_text(package, "template.html"))
    page = template.render(version=__version__, **facts)
    with atomic_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def check_folder(out: Path) -> None:
    """Check that a file can be written, before the work for it is done.

    Raises:
        OutputError: if its folder does not exist.
    """
    if not out.absolute().parent.is_dir():
        raise OutputError(f"cannot write {out}", found="its folder does not exist")


def own_markup(svg: str) -> Markup:
    """A drawing of ours for a template, which would escape any other text."""
    import markupsafe

    return markupsafe.Markup(svg)  # noqa: S704  our own SVG; matplotlib escapes its texts


def data_url(picture: Image.Image) -> str:
    """A picture as a URL that holds it, PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _text(package: str, name: str) -> str:
    return (resources.files(package) / name).read_text(encoding="utf-8")
