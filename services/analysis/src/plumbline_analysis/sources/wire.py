"""Protobuf messages declared in Python, for reading only those fields of a wire format that are needed.

A declaration is `{message: {"[repeated|optional|oneof] type name": number}}`; the oneof is called `data`.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bytes": _Field.TYPE_BYTES,
    "string": _Field.TYPE_STRING,
    "bool": _Field.TYPE_BOOL,
    "double": _Field.TYPE_DOUBLE,
    "fixed64": _Field.TYPE_FIXED64,
    "sfixed64": _Field.TYPE_SFIXED64,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "sint32": _Field.TYPE_SINT32,
    "sint64": _Field.TYPE_SINT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}


def classes(package: str, messages: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """The class of each message; `FromString` raises `google.protobuf.message.DecodeError`."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        optional = []
        for declaration, number in fields.items():
            *label, kind, field_name = declaration.split()
            field = message.field.add(
                name=field_name,
                number=number,
                label=_Field.LABEL_REPEATED if label == ["repeated"] else _Field.LABEL_OPTIONAL,
                type=_TYPES.get(kind, _Field.TYPE_MESSAGE),
            )
            if kind not in _TYPES:
                field.type_name = f".{package}.{kind}"
            if label == ["oneof"]:
                if not message.oneof_decl:
                    message.oneof_decl.add(name="data")
                field.oneof_index = 0
            if label == ["optional"]:
                field.proto3_optional = True
                optional.append(field)
        # proto3 presence is a oneof of its own; those come after the real ones.
        for field in optional:
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages
    }
