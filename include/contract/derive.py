"""Schemas and constraints, all read off `ReadingEvent`: no second list of fields exists.

pyspark and pyarrow are imported inside the functions that return their types, so that a DAG file may
import this module at parse time.
"""

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import msgspec.inspect as inspect

from include.contract.event import REQUIRED_ON, ReadingEvent

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.types import DataType, StructType

Kind = Literal["string", "integer", "number", "map"]

_INT32_MAX: Final = 2**31 - 1


@dataclass(frozen=True)
class FieldConstraint:
    """What the contract says of one field. Lengths in code points, a map's in entries; None: no limit."""

    name: str
    kind: Kind
    required: bool
    required_on: str | None = None
    """Event type on which an optional field must be present."""
    allowed_values: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    forbidden_pattern: str | None = None
    """Regular expression that is found nowhere in the text."""
    entry: "FieldConstraint | None" = None
    """Of a map: what holds for each key and each value."""

    @property
    def fits_int32(self) -> bool:
        """Whether an integer field's range fits 32 bits."""
        return self.maximum is not None and self.maximum <= _INT32_MAX and (self.minimum or 0) >= -_INT32_MAX


def constraints() -> dict[str, FieldConstraint]:
    """Return field name -> constraint, in the order of the contract's fields."""
    struct = inspect.type_info(ReadingEvent)
    if not isinstance(struct, inspect.StructType):
        raise TypeError("ReadingEvent is not a msgspec Struct")
    return {
        field.encode_name: _constraint(
            field.encode_name, field.type, required=field.required, required_on=REQUIRED_ON.get(field.name)
        )
        for field in struct.fields
    }


def json_schema() -> dict[str, Any]:
    """Return the event's JSON Schema (draft 2020-12), definitions inlined under `$defs`."""
    _, definitions = msgspec.json.schema_components((ReadingEvent,), ref_template="#/$defs/{name}")
    own = definitions.pop(ReadingEvent.__name__)
    conditions = [
        {
            "if": {"properties": {"event_type": {"const": event_type.value}}},
            "then": {"required": [name], "properties": {name: {"type": "number"}}},
        }
        for name, event_type in REQUIRED_ON.items()
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **own,
        "allOf": conditions,
        "$defs": definitions,
    }


def arrow_schema() -> "pa.Schema":
    """Return the event's Arrow schema; required fields are not nullable."""
    import pyarrow as pa

    def type_of(constraint: FieldConstraint) -> "pa.DataType":
        match constraint.kind:
            case "integer":
                return pa.int32() if constraint.fits_int32 else pa.int64()
            case "number":
                return pa.float64()
            case "map":
                return pa.map_(pa.string(), pa.string())
            case _:
                return pa.string()

    return pa.schema(
        [pa.field(name, type_of(it), nullable=not it.required) for name, it in constraints().items()]
    )


def spark_schema() -> "StructType":
    """Return the event's Spark schema; required fields are not nullable."""
    from pyspark.sql import types as T  # noqa: N812  the name everybody uses

    def type_of(constraint: FieldConstraint) -> "DataType":
        match constraint.kind:
            case "integer":
                return T.IntegerType() if constraint.fits_int32 else T.LongType()
            case "number":
                return T.DoubleType()
            case "map":
                return T.MapType(T.StringType(), T.StringType(), valueContainsNull=False)
            case _:
                return T.StringType()

    return T.StructType(
        [T.StructField(name, type_of(it), nullable=not it.required) for name, it in constraints().items()]
    )


def _constraint(
    name: str, declared: inspect.Type, *, required: bool, required_on: enum.Enum | None = None
) -> FieldConstraint:
    forbidden_pattern: str | None = None
    if isinstance(declared, inspect.Metadata):
        forbidden_pattern = (declared.extra or {}).get("forbidden_pattern")
        declared = declared.type
    on = None if required_on is None else str(required_on.value)
    match declared:
        case inspect.UnionType(types=types):
            present = [it for it in types if not isinstance(it, inspect.NoneType)]
            if len(present) != 1:
                raise TypeError(f"{name}: a union of several types has no Spark type")
            return _constraint(name, present[0], required=required, required_on=required_on)
        case inspect.StrType():
            return FieldConstraint(
                name,
                "string",
                required,
                on,
                min_length=declared.min_length,
                max_length=declared.max_length,
                forbidden_pattern=forbidden_pattern,
            )
        case inspect.EnumType(cls=cls):
            return FieldConstraint(
                name, "string", required, on, allowed_values=tuple(str(it.value) for it in cls)
            )
        case inspect.LiteralType(values=values):
            return FieldConstraint(
                name, "string", required, on, allowed_values=tuple(str(it) for it in values)
            )
        case inspect.IntType():
            return FieldConstraint(name, "integer", required, on, minimum=declared.ge, maximum=declared.le)
        case inspect.FloatType():
            return FieldConstraint(name, "number", required, on, minimum=declared.ge, maximum=declared.le)
        case inspect.DictType():
            entry = _constraint(f"{name}[]", declared.value_type, required=True)
            if _constraint(f"{name}[]", declared.key_type, required=True) != entry:
                raise TypeError(f"{name}: keys and values must have one type")
            return FieldConstraint(name, "map", required, on, max_length=declared.max_length, entry=entry)
    raise TypeError(f"{name}: {type(declared).__name__} has no mapping in include.contract.derive")
