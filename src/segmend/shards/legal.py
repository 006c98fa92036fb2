"""What users must know to cite and to pass on: ``CITATION.cff`` and ``LICENSES.md``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from segmend.shards.card import CardFacts, Source, sources_table
from segmend.store.atomic import atomic_file

CITATION = "CITATION.cff"
LICENCES = "LICENSES.md"


def write_legal(folder: Path, facts: CardFacts) -> None:
    """Write both files, each whole or not at all."""
    for name, text in ((CITATION, citation_text(facts)), (LICENCES, licences_text(facts.sources))):
        with atomic_file(folder / name) as path:
            path.write_text(text, encoding="utf-8")


def citation_text(facts: CardFacts) -> str:
    """A Citation File Format 1.2 record that refers to every source."""
    # JSON strings are YAML strings, whatever they hold.
    lines = [
        "cff-version: 1.2.0",
        "type: dataset",
        f"title: {json.dumps(facts.pretty_name)}",
        'message: "Cite the sources below; the pictures are theirs."',
        "authors:",
        '- name: "The authors of the sources"',
        "references:" if facts.sources else "references: []",
    ]
    for source in facts.sources:
        lines += [
            "- type: data",
            f"  title: {json.dumps(source.name)}",
            '  authors:\n  - name: "See notes"',
            f"  notes: {json.dumps(source.citation.replace(chr(10), ' ').strip())}",
        ]
        lines += [f"  url: {json.dumps(source.url)}"] if source.url else []
    return "\n".join(lines) + "\n"


def licences_text(sources: Sequence[Source]) -> str:
    """The licence of each source, and what its terms forbid."""
    parts = ["# Licences\n\nEvery row shows tissue of one source and is under that source's terms."]
    parts.append(sources_table(sources))
    for source in sources:
        if "redistribution" in source.forbids:
            parts.append(
                f"**{source.name}**: its terms forbid to pass on copies. This benchmark holds "
                "pictures of it; keep it to yourself. `segmend publish` refuses it."
            )
        if "commercial" in source.forbids:
            parts.append(f"**{source.name}**: its terms forbid commercial use.")
        if source.licence in ("unstated", ""):
            parts.append(
                f"**{source.name}**: its owners state no licence; ask them before passing it on. "
                "`segmend publish` refuses it without `--licence-agreed`."
            )
    return "\n\n".join(parts) + "\n"
