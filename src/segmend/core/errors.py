"""The one error tree.

    SegmendError
    ├── BadInputError              what the caller gave cannot be used     (also ValueError)
    │   ├── PlanError              a build plan that does not hold
    │   ├── UnknownNameError       a name nobody registered                (also KeyError)
    │   ├── GridMismatchError      layers that do not lie on one grid
    │   ├── OutOfBoundsError       a box outside its volume
    │   ├── AbsentVoxelsError      a bare array asked for where voxels are certified absent
    │   ├── SegmentNotFoundError   an id that does not occur
    │   ├── NoSamplesError         nothing to build, train on or score
    │   ├── SchemaError            columns, dtypes or shapes that disagree with the schema
    │   └── LeakError              an input that a task must not see
    ├── MissingDependencyError     an extra that is not installed          (also ImportError)
    ├── ReadFailedError            bytes that could not be read            (also OSError)
    ├── OutputError                a place that cannot be written          (also OSError)
    ├── RenderError                a site that cannot be drawn; `reason` is its ledger code
    ├── VerificationError          a benchmark that is not what it says
    ├── IncompleteBuildError       rows neither committed nor failed with a named reason
    ├── WorkerLostError            a process that died at its work
    └── IncompleteHarvestError     edits that a server did not give, each with a named reason

Every message says what was asked, what is true, and what to do next.
"""


class SegmendError(Exception):
    """Base of every error segmend raises on purpose.

    Args:
        asked: What was asked for, naming the culprit (file, key, id, column).
        found: The evidence: what is true instead.
        fix: The next step for the caller.
    """

    exit_status = 1

    def __init__(self, asked: str, *, found: str = "", fix: str = "") -> None:
        super().__init__(asked, found, fix)
        self.asked = asked
        self.found = found
        self.fix = fix

    def __str__(self) -> str:
        sentence = f"{self.asked}: {self.found}" if self.found else self.asked
        return f"{sentence}. {self.fix}" if self.fix else sentence

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders in a build; keep the keyword arguments.
        return (_rebuild, (type(self), self.asked, self.found, self.fix, self.__dict__))


def _rebuild(
    kind: type[SegmendError], asked: str, found: str, fix: str, state: dict[str, object]
) -> SegmendError:
    error = kind.__new__(kind)
    SegmendError.__init__(error, asked, found=found, fix=fix)
    error.__dict__.update(state)
    return error


class BadInputError(SegmendError, ValueError):
    """What the caller gave cannot be used."""

    exit_status = 2


class PlanError(BadInputError):
    """A build plan that does not hold."""


class UnknownNameError(BadInputError, KeyError):
    """A name nobody registered."""

    # KeyError would print the repr of its argument.
    __str__ = SegmendError.__str__


class GridMismatchError(BadInputError):
    """Layers that do not lie on one voxel grid."""


class OutOfBoundsError(BadInputError):
    """A box or point outside its volume."""


class AbsentVoxelsError(BadInputError):
    """A bare array, which cannot tell absent from data, asked for where voxels are absent."""


class SegmentNotFoundError(BadInputError):
    """A segment id that does not occur where it was asked for."""


class NoSamplesError(BadInputError):
    """Nothing to build, train on or score."""


class SchemaError(BadInputError):
    """Columns, dtypes or shapes that disagree with the schema."""


class LeakError(BadInputError):
    """An input that a task must not see."""


class MissingDependencyError(SegmendError, ImportError):
    """An extra that is not installed."""

    exit_status = 3


class ReadFailedError(SegmendError, OSError):
    """Bytes that could not be read. Never turned into zeros.

    Args:
        reason: Short code: ``missing``, ``forbidden``, ``server_error``, ``rate_limited``,
            ``timeout``, ``connection``, ``redirect``, ``truncated``, ``corrupt`` or ``refused``.
        url: What was read, down to the object.
        attempts: How often it was tried.
    """

    exit_status = 4
    __str__ = SegmendError.__str__

    def __init__(
        self,
        asked: str,
        *,
        found: str = "",
        fix: str = "",
        reason: str = "",
        url: str = "",
        attempts: int = 1,
    ) -> None:
        super().__init__(asked, found=found, fix=fix)
        self.reason = reason
        self.url = url
        self.attempts = attempts


class OutputError(SegmendError, OSError):
    """A place that cannot be written."""

    exit_status = 5
    __str__ = SegmendError.__str__


class RenderError(SegmendError):
    """A site that cannot be drawn.

    Args:
        reason: Short ledger code, for example ``segment_not_in_view``.
    """

    def __init__(self, reason: str, asked: str, *, found: str = "", fix: str = "") -> None:
        super().__init__(asked, found=found, fix=fix)
        self.reason = reason


class VerificationError(SegmendError):
    """A benchmark that is not what it says it is."""

    exit_status = 6


class IncompleteBuildError(SegmendError):
    """Planned rows that are neither committed nor failed with a named reason."""

    exit_status = 7


class WorkerLostError(SegmendError):
    """A process that died at its work."""

    exit_status = 8


class IncompleteHarvestError(SegmendError):
    """Roots or operations that a server did not give; the ledger names the reason of each."""

    exit_status = 9


def require(module: str, *, extra: str) -> None:
    """Check that an optional dependency is importable.

    Args:
        module: Top-level module name, for example ``"torch"``.
        extra: The segmend extra that installs it.

    Raises:
        MissingDependencyError: with the command that installs it.
    """
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise MissingDependencyError(
            f"this needs the package '{module}'",
            found="it is not installed",
            fix=f"Run: pip install 'segmend[{extra}]'",
        )
