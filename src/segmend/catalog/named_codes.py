"""Labels whose file says which code means what, as MATLAB's categoricals do in their attributes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from segmend.annotations.matlab import open_matlab
from segmend.catalog.labels import LabelSpec
from segmend.core.errors import SchemaError


def with_named_codes(spec: LabelSpec, file: Path, key: str) -> LabelSpec:
    """The meaning of a layer's values, by the names that its file gives them.

    Args:
        spec: The recorded meaning, with classes by name.
        file: The HDF5 file.
        key: The data set.

    Returns:
        The meaning with a class for every code whose name the record knows; a voxel of another code
        is an error when it is read. Where the file names no code, the record's own codes hold.

    Raises:
        SchemaError: if neither names a code, the file knows none of the record's names, or it gives
            two names one code.
        ReadFailedError: if the file cannot be read.
    """
    told = open_matlab(file).names(key)
    if not told and spec.classes:
        return spec
    classes = {str(code): spec.names[name] for code, name in told.items() if name in spec.names}
    if not classes:
        raise SchemaError(
            f"nobody says what the codes of {file}:{key} mean",
            found=f"its attributes name {sorted(told.values()) or 'none'}",
            fix=f"Expected are attributes {sorted(spec.names)}, each one whole number",
        )
    return msgspec.structs.replace(spec, classes=classes)
