"""
Just enough of the protobuf wire format to read the attributes of an ONNX node, so that serving needs no ``onnx`` package.

References:
    https://protobuf.dev/programming-guides/encoding/
"""

import struct
from collections.abc import Iterable, Iterator, Sequence

#: Wire types of the format: varint, eight bytes, length-delimited, four bytes.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Field = tuple[int, int, int | bytes]


def fields(message: bytes) -> Iterator[Field]:
    """
    Walk one message.

    Yields:
        Field number, wire type and raw value of each field, in the order in which they stand.

    Raises:
        ValueError: The bytes end early, or are not protobuf.
    """
    at, end = 0, len(message)
    while at < end:
        key = message[at]
        key, at = (key, at + 1) if key < 0x80 else _varint(message, at)  # nearly all numbers have one byte
        kind = key & 7
        if kind == VARINT:
            value = message[at] if at < end else 0x80
            value, at = (value, at + 1) if value < 0x80 else _varint(message, at)
            yield key >> 3, kind, value
            continue
        size = 8 if kind == FIXED64 else 4
        if kind == BYTES:
            size, at = _varint(message, at)
        elif kind not in (FIXED64, FIXED32):
            raise ValueError(f"wire type {kind} is not one that ONNX uses")
        if at + size > end:
            raise ValueError("the message ends within a field")
        yield key >> 3, kind, message[at : at + size]
        at += size


def submessages(message: bytes, number: int) -> list[bytes]:
    """
    Return the length-delimited values of one field.
    """
    return texts(fields(message), number)


def texts(found: Iterable[Field], number: int) -> list[bytes]:
    """
    Return a repeated field of length-delimited values.
    """
    return [value for at, kind, value in found if at == number and kind == BYTES and isinstance(value, bytes)]


def floats(found: Sequence[Field], number: int) -> list[float]:
    """
    Return a repeated float field, packed or not.
    """
    raw = b"".join(value for at, kind, value in found if at == number and kind in (BYTES, FIXED32) and isinstance(value, bytes))
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def integers(found: Sequence[Field], number: int) -> list[int]:
    """
    Return a repeated int64 field, packed or not.
    """
    values: list[int] = []
    for at, _, value in found:
        if at != number:
            continue
        if isinstance(value, int):
            values.append(_signed(value))
        else:
            values.extend(_packed(value))
    return values


def _packed(raw: bytes) -> Iterator[int]:
    at = 0
    while at < len(raw):
        value, at = _varint(raw, at)
        yield _signed(value)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """
    Return the number that starts at a byte, and the byte after it.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("the message ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number has more than ten bytes")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
