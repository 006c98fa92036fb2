"""Known defects of the real service, each a switch.

The numbers are issues of github.com/CAVEconnectome/PyChunkedGraph unless another project is named.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from segmend.core.random import keyed_generator


@dataclass(frozen=True, slots=True)
class Defects:
    """What is wrong with a server; the default is nothing.

    Shares are of the roots or operations they speak of; which of them is a function of ``seed``.

    Attributes:
        seed: Chooses the victims.
        slow_lineage: Share of edited roots whose change log and lineage time out (#526).
        empty_log_times_out: The log of a root without edits times out (#397).
        forbidden: Share of roots that this user may not ask about.
        lost_details: Share of operations that the details do not know.
        one_new_root: Share of splits whose details, like every log, name one new root (#473).
        no_edges: Share of operations whose details name no supervoxels (#509).
        no_time: Share of operations dated 31 December 1969 (#512).
        seconds: Share of operations whose log has seconds where it should have milliseconds.
        contrary: Share of operations that the log calls a merge and the details a split, or vice
            versa.
        outside: Share of operations with a click outside the volume.
        swapped: Share of operations whose log names roots that are not those of the clicked
            supervoxels.
        string_ids: Ids are sent as strings, as for JavaScript (#152).
        wrong_latest: The lineage names roots as latest that are not (#519).
        early_fails: Times before the table's fail with 500 (#500).
        empty_delta_fails: Delta roots fail with 500 where nothing changed (#394).
        late_originals: Times of original roots are an hour late, and before them there is no root
            (#431).
        expired: The materialised versions have expired (CAVEclient #322).
        echoes_token: Error messages repeat the request's headers.
    """

    seed: int = 0
    slow_lineage: float = 0.0
    empty_log_times_out: bool = False
    forbidden: float = 0.0
    lost_details: float = 0.0
    one_new_root: float = 0.0
    no_edges: float = 0.0
    no_time: float = 0.0
    seconds: float = 0.0
    contrary: float = 0.0
    outside: float = 0.0
    swapped: float = 0.0
    string_ids: bool = False
    wrong_latest: bool = False
    early_fails: bool = False
    empty_delta_fails: bool = False
    late_originals: bool = False
    expired: bool = False
    echoes_token: bool = False

    def hit(self, defect: str, subject: int) -> bool:
        """Whether a root or operation is a victim of a defect."""
        share = getattr(self, defect)
        draw: float = keyed_generator("fake-cave", self.seed, defect, subject).random()
        return draw < share


def every_defect(share: float = 0.1, seed: int = 0) -> Defects:
    """All defects at once, those with a share at ``share``."""
    on: dict[str, Any] = {
        f.name: share if f.type == "float" else True for f in fields(Defects) if f.name != "seed"
    }
    return Defects(seed=seed, **on)
