"""Fault trials of the stores and of `fetch`, and what became of them.

    python benchmarks/fault_trials.py [--trials 1400] [--seed 0] [--json]

Each trial reads real bytes over real TCP through one fault (`segmend.testing.trials` lists the
families). The exit status is 1 if any read was silently wrong or hung.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median, quantiles

from segmend.testing.trials import Result, make_trials, run_trials, table

OUTCOMES = ("recovered", "typed error", "silent wrong", "hang")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        results = run_trials(make_trials(arguments.trials, arguments.seed), Path(folder))
    rows = [
        {"family": family} | {outcome: counts[outcome] for outcome in OUTCOMES}
        for family, counts in table(results)
    ]
    if arguments.json:
        print(json.dumps({"rows": rows, "seconds": seconds(results)}, indent=1))
    else:
        show(rows, results)
    survived = Counter(result.outcome for result in results)
    sys.exit(1 if survived["silent wrong"] or survived["hang"] else 0)


def show(rows: list[dict[str, int | str]], results: list[Result]) -> None:
    print(f"{'family':8}" + "".join(f"{outcome:>14}" for outcome in OUTCOMES))
    for row in rows:
        print(f"{row['family']:8}" + "".join(f"{row[outcome]:>14}" for outcome in OUTCOMES))
    times = seconds(results)
    print(f"seconds to recover: median {times['median']:.3f}, 95 % {times['p95']:.3f}")
    for result in results:
        if result.outcome in ("silent wrong", "hang"):
            print(result)


def seconds(results: list[Result]) -> dict[str, float]:
    """Time of the reads that recovered, with the time-outs of the trials (tenths of a second)."""
    times = [result.seconds for result in results if result.outcome == "recovered"]
    return {"median": median(times), "p95": quantiles(times, n=20)[-1]}


if __name__ == "__main__":
    main()
