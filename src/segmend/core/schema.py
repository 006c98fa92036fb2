"""Fields and schemas: the one description from which columns, rules, card and docs derive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from segmend.core.errors import BadInputError, LeakError, SchemaError

Role = Literal["input", "label", "meta"]
DType = Literal["string", "strings", "bool", "float64", "bytes", "png"]


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a row.

    Attributes:
        name: Column name.
        dtype: Storage type. ``png`` is an image stored as ``struct<bytes, path>``; ``bytes`` an
            opaque payload; ``strings`` a list of strings.
        role: ``input``: a model may see it where its task allows; ``label``: an answer; ``meta``:
            provenance that no model may see.
        doc: One sentence for the card.
        shape: Shape after decoding, for arrays.
        unit: Physical unit, where there is one.
        nullable: Whether a row may lack it.
    """

    name: str
    dtype: DType
    role: Role
    doc: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """Ordered fields with unique names."""

    name: str
    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        names = [f.name for f in self.fields]
        if len(set(names)) != len(names):
            raise BadInputError(f"schema '{self.name}' names a field twice", found=str(names))

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise SchemaError(
            f"schema '{self.name}' has no field '{name}'", fix=f"Fields: {', '.join(self.names)}"
        )

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    @property
    def names(self) -> tuple[str, ...]:
        """All field names, in order."""
        return tuple(f.name for f in self.fields)

    def with_role(self, role: Role) -> tuple[str, ...]:
        """Names of the fields of one role, in order."""
        return tuple(f.name for f in self.fields if f.role == role)

    def check_inputs(self, names: tuple[str, ...]) -> None:
        """Check that every name is a field that models may see.

        Raises:
            LeakError: if one is a label or metadata.
            SchemaError: if one does not exist.
        """
        for name in names:
            role = self[name].role
            if role != "input":
                raise LeakError(
                    f"'{name}' cannot be an input",
                    found=f"schema '{self.name}' declares its role as '{role}'",
                    fix=f"Inputs: {', '.join(self.with_role('input'))}",
                )
