"""``python -m segmend.testing.standins NAME FOLDER``: write a stand-in, fetch it, say what to do.

Files of a remote data set need no fetching: their record points to the folder as it lies.
"""

from __future__ import annotations

import sys

from segmend.catalog.fetching import fetch_files
from segmend.catalog.record import load_record
from segmend.core.box import Box
from segmend.core.errors import SegmendError
from segmend.testing.standins import WRITERS, write_standin


def main(arguments: list[str]) -> int:
    """Write one stand-in; the exit status."""
    if len(arguments) != 2:
        sys.stderr.write(f"python -m segmend.testing.standins NAME FOLDER; {', '.join(WRITERS)}\n")
        return 2
    try:
        file = write_standin(arguments[0], arguments[1])
        record, folder = load_record(str(file))
        assert folder is not None
        box = Box(*record.default_box_nm) if record.default_box_nm else None
        fetch_files(record, folder, volume="all", box=box)
    except SegmendError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    sys.stdout.write(f"segmend.open({str(file)!r})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
