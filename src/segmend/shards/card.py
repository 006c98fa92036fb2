"""The card: README.md with the YAML header that `datasets` and the Hub read."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segmend.core.errors import ReadFailedError
from segmend.core.sample import (
    CHANNELS,
    EM_CHANNELS,
    GEOMETRY_SHAPE,
    ROW_SCHEMAS,
    SAMPLE_TYPES,
    SCHEMA_VERSION,
    SPLIT_FOLDERS,
    SPLITS,
    VIEWS,
    SchemaVersion,
    em_column,
)
from segmend.core.schema import Field
from segmend.shards.layout import CARD, DEMO
from segmend.store.atomic import atomic_file

Counts = Mapping[tuple[str, str], int]
"""Rows by (sample type, split)."""

# Upper bounds of the Hub's size categories.
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
)
_LARGEST = "1M<n<10M"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the tissue comes from.

    Attributes:
        name: Name of the data set.
        licence: Its licence, or ``unstated``.
        citation: How to cite it.
        url: Where it lives, if anywhere.
        forbids: Uses that its terms forbid: ``redistribution``, ``commercial``.
    """

    name: str
    licence: str
    citation: str
    url: str = ""
    forbids: tuple[str, ...] = ()


def plan_sources(facts: Iterable[Mapping[str, Any]]) -> tuple[Source, ...]:
    """The data sets behind the volumes of a plan, each once.

    Args:
        facts: ``sources`` of ``plan.json``.
    """
    by_name = {str(volume["dataset"]): volume for volume in facts}
    return tuple(
        Source(
            f"{volume['title']} ({name})",
            volume["licence"],
            volume["citation"],
            url=volume["homepage"],
            forbids=tuple(volume["forbids"]),
        )
        for name, volume in by_name.items()
    )


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the builder knows and the shards do not.

    Attributes:
        pretty_name: Title.
        summary: One paragraph of Markdown.
        license: Identifier for the YAML header, as the Hub spells it (``mit``, ``cc-by-4.0``,
            ``other``).
        sources: Where the tissue comes from.
        provenance: How it was made, one line of Markdown each.
        accepted_leaks: Leaks between splits that the plan accepts, by name.
        left_out: Candidates that are not rows, by named reason.
        tags: For the YAML header.
    """

    pretty_name: str
    summary: str
    license: str
    sources: tuple[Source, ...]
    provenance: tuple[str, ...] = ()
    accepted_leaks: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    tags: tuple[str, ...] = ("connectomics", "electron-microscopy", "proofreading")


def write_card(
    folder: Path, facts: CardFacts, counts: Counts, version: SchemaVersion = SCHEMA_VERSION
) -> None:
    """Write README.md, whole or not at all."""
    with atomic_file(folder / CARD) as path:
        path.write_text(card_text(facts, counts, version), encoding="utf-8")


def card_text(facts: CardFacts, counts: Counts, version: SchemaVersion = SCHEMA_VERSION) -> str:
    """The card as text.

    Args:
        facts: What the builder knows.
        counts: Rows by (sample type, split).
        version: Version of the schema.
    """
    sections = (
        _header(facts, counts),
        f"# {facts.pretty_name}\n\n{facts.summary}\n\n{_FIGURE}",
        _counts_section(counts),
        _provenance_section(facts),
        audit_section(_NOT_AUDITED),
        _LOADING.replace("em_xy_before", em_column("xy", version)),
        _columns_section(version),
        _sources_section(facts.sources),
    )
    return "\n\n".join(sections) + "\n"


def _header(facts: CardFacts, counts: Counts) -> str:
    total = sum(counts.values())
    size = next((name for limit, name in _SIZES if total < limit), _LARGEST)
    filled = [s for s in SPLITS if any(split == s for _, split in counts)]
    # JSON strings are YAML strings, whatever they hold.
    lines = [
        "---",
        f"pretty_name: {json.dumps(facts.pretty_name)}",
        f"license: {json.dumps(facts.license)}",
        f"size_categories: [{json.dumps(size)}]",
        f"tags: {json.dumps(list(facts.tags))}",
        f"accepted_leaks: {json.dumps(list(facts.accepted_leaks))}",
        "configs:",
        "- config_name: default",
        "  default: true",
        "  data_files:",
        *(_data_files(s, f"{SPLIT_FOLDERS[s]}/{SPLIT_FOLDERS[s]}-*.parquet") for s in filled),
        "- config_name: demo",
        "  data_files:",
        _data_files("demo", DEMO),
        "---",
    ]
    return "\n".join(lines)


def _data_files(split: str, path: str) -> str:
    return f"  - split: {split}\n    path: {json.dumps(path)}"


def _counts_section(counts: Counts) -> str:
    per_split = Counter[str]()
    for (_, split), n in counts.items():
        per_split[split] += n
    rows = [
        [kind, *(f"{counts.get((kind, s), 0):,}" for s in SPLITS), SAMPLE_TYPES[kind].doc]
        for kind in SAMPLE_TYPES
    ]
    rows.append(["**all**", *(f"{per_split[s]:,}" for s in SPLITS), ""])
    return "## Rows\n\n" + _table(["sample type", *SPLITS, "what it is"], rows)


def _provenance_section(facts: CardFacts) -> str:
    lines = [f"- {line}" for line in facts.provenance]
    leaks = ", ".join(facts.accepted_leaks)
    lines.append(f"- Leaks between splits that were accepted: **{leaks}**." if leaks else _NO_LEAKS)
    text = "## How it was made\n\n" + "\n".join(lines)
    if facts.left_out:
        rows = [[reason, f"{n:,}"] for reason, n in sorted(facts.left_out.items())]
        text += "\n\nCandidates that are not rows, by reason:\n\n" + _table(["reason", "n"], rows)
    return text


_FIGURE = (
    "![a row of a pair and a row of one segment, taken apart](figures/channel_decomposition.png)"
)
_AUDIT = re.compile(r"<!-- audit -->.*?<!-- /audit -->", re.DOTALL)
_NOT_AUDITED = "Not audited since it was built: run `segmend audit`."


def audit_section(text: str) -> str:
    """The section of the card that says what the leak audit found."""
    return f"<!-- audit -->\n## Leak audit\n\n{text}\n<!-- /audit -->"


def write_audit_section(folder: Path, text: str) -> bool:
    """Replace the section on the leak audit in a card.

    Returns:
        Whether the card has such a section; cards of others have none and stay as they are.

    Raises:
        ReadFailedError: if the card cannot be read.
    """
    path = folder / CARD
    try:
        card = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    new, found = _AUDIT.subn(lambda _: audit_section(text), card, count=1)
    if found:
        with atomic_file(path) as temporary:
            temporary.write_text(new, encoding="utf-8")
    return bool(found)


_NO_LEAKS = "- No leak between splits was accepted."

_LOADING = f"""## Loading

```python
from datasets import load_dataset

row = load_dataset("path/to/this/folder", split="test")[0]
row["em_xy_before"]                         # a PIL image: {", ".join(EM_CHANNELS)}

import io, numpy as np
np.load(io.BytesIO(row["geometry"]))["arr_0"]   # float16 {GEOMETRY_SHAPE}
```

Geometry axes: views ({", ".join(VIEWS)}), channels ({", ".join(CHANNELS)}), rows, columns.
`metadata/*.parquet` hold identifiers, labels, sites and segment ids without pictures; `shards.csv`
the sha256 of every shard; `croissant.json` is Croissant 1.0. With segmend: `segmend verify`,
`segmend audit`, `segmend train`, `segmend evaluate`.

**For tasks on one segment** (false merges) unite masks A and B of the EM images and leave
`em_best_before` out: its plane was chosen by looking at both sides. segmend's tasks do both."""


def _columns_section(version: SchemaVersion) -> str:
    rows = [[f"`{f.name}`", _type(f), f.role, f.doc] for f in ROW_SCHEMAS[version]]
    table = _table(["column", "type", "role", "meaning"], rows)
    return f"## Columns (schema {version})\n\n{table}"


def _type(column: Field) -> str:
    shape = f" {column.shape}" if column.shape else ""
    return f"{column.dtype}{shape}{', nullable' if column.nullable else ''}"


def _sources_section(sources: Sequence[Source]) -> str:
    return "## Sources, licences, citations\n\n" + sources_table(sources)


def sources_table(sources: Sequence[Source]) -> str:
    """Sources with their licences, what these forbid, and how to cite them, in Markdown."""
    rows = [
        [
            f"[{s.name}]({s.url})" if s.url else s.name,
            s.licence,
            ", ".join(s.forbids) or "nothing stated",
            s.citation.replace("\n", " "),
        ]
        for s in sources
    ]
    return _table(["source", "licence", "forbids", "citation"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
