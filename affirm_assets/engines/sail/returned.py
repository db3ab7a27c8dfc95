"""A function of Arrow batches returns what it was declared to return, or the step fails, as on Spark.

Sail casts what is of another type, and rounds it: 1.255 that is returned for a decimal(18,2) becomes 1.26.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.serializers import CloudPickleSerializer
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

Batches = Iterable[pa.RecordBatch]


@dataclass(frozen=True)
class AsDeclared:
    """The function, with what it returns looked at."""

    function: Callable[[Batches], Batches]
    schema: pa.Schema

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in self.function(batches):
            for declared in self.schema:
                at = batch.schema.get_field_index(declared.name)
                found = None if at < 0 else batch.schema.field(at).type
                if found is None or _plain(found) != _plain(declared.type):
                    raise TypeError(
                        f"mapInArrow: column {declared.name}: expected {declared.type}, as declared; the function "
                        f"returned {found or 'no such column'}. Cast it in the function."
                    )
            yield batch


def checked(command: bytes, returned: StructType) -> bytes:
    """A pickled function of a plan, as PySpark's client sends it, made AsDeclared."""
    pickler: Any = CloudPickleSerializer()  # type: ignore[no-untyped-call]
    function, kind = pickler.loads(command)
    return bytes(pickler.dumps((AsDeclared(function, to_arrow_schema(returned)), kind)))


def _plain(kind: pa.DataType) -> pa.DataType:
    """However text and lists are held, and whatever their elements are called."""
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(each.name, _plain(each.type)) for each in kind])
    return kind
