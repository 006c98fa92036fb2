"""An audit in words: for a terminal and for the card."""

from __future__ import annotations

from collections.abc import Sequence

from segmend.evaluate.audit.audit import Audit, Check

_GROUPS = {
    "leak": "Between splits",
    "artefact": "Artefacts of how rows are made: the interval must contain 0.5",
    "content": "Content of the pictures, which may be real signal: reported, never gated",
    "metadata": "Metadata, which no model sees: reported, never gated",
}


def verdict(found: Audit) -> str:
    """One sentence."""
    accepted = [c.name for c in found.checks if c.status == "accepted"]
    told = f"; accepted by the plan: {', '.join(accepted)}" if accepted else ""
    if found.leaks:
        names = ", ".join(f"{c.task} {c.name}".strip() for c in found.leaks)
        return f"Audited {found.rows:,} rows, NOT clean: {names}{told}."
    return f"Audited {found.rows:,} rows, clean{told}."


def audit_text(found: Audit) -> str:
    """The whole audit for a terminal."""
    lines = [verdict(found)]
    for group, title in _GROUPS.items():
        checks = [c for c in found.checks if c.group == group]
        if checks:
            lines += ["", title]
            lines += [f"  {c.status:9} {_subject(c):46} {_figure(c)}{_note(c)}" for c in checks]
    return "\n".join(lines) + "\n"


def audit_markdown(found: Audit) -> str:
    """The section of the card, without its heading."""
    parts = [f"**{verdict(found)}**"]
    for group, title in _GROUPS.items():
        checks = [c for c in found.checks if c.group == group]
        if checks:
            parts.append(f"{title}.\n\n{_table(checks)}")
    parts.append(
        f"Intervals: {found.resamples:,} resamples of neurons; those of the artefact probes of a "
        f"task hold {found.family_level:.0%} together. Statistics are compared as ranks within "
        "their data set. `audit.json` names examples."
    )
    return "\n\n".join(parts)


def _table(checks: Sequence[Check]) -> str:
    lines = ["| check | found | status | what it looks at |", "|---|---|---|---|"]
    lines += [f"| {_subject(c)} | {_figure(c)}{_note(c)} | {c.status} | {c.doc} |" for c in checks]
    return "\n".join(lines)


def _subject(check: Check) -> str:
    return f"{check.task} {check.name}".strip()


def _figure(check: Check) -> str:
    if check.group == "leak":
        return f"{check.n:,} of {check.of:,}"
    if check.auroc is None:
        return "undefined"
    if check.low is None or check.high is None:
        return f"AUROC {check.auroc:.3f}"
    return f"AUROC {check.auroc:.3f} [{check.low:.3f}, {check.high:.3f}]"


def _note(check: Check) -> str:
    return f" ({check.note})" if check.note else ""
