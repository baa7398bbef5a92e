"""
Just enough of the protobuf wire format to read the attributes of an ONNX node, so that serving needs no ``onnx`` package.

References:
    https://protobuf.dev/programming-guides/encoding/
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator

#: Wire types of the format: varint, eight bytes, length-delimited, four bytes.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Value = int | bytes
Field = tuple[int, int, Value]


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
    return texts([value for at, _, value in fields(message) if at == number])


def by_number(message: bytes) -> defaultdict[int, list[Value]]:
    """
    Return the raw values of every field of a message, those of one field in the order in which they stand.
    """
    found: defaultdict[int, list[Value]] = defaultdict(list)
    for number, _, value in fields(message):
        found[number].append(value)
    return found


def texts(values: Iterable[Value]) -> list[bytes]:
    """
    Return a repeated field of length-delimited values.
    """
    return [value for value in values if isinstance(value, bytes)]


def floats(values: Iterable[Value]) -> list[float]:
    """
    Return a repeated float field, packed or not.
    """
    raw = b"".join(texts(values))
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def integers(values: Iterable[Value]) -> list[int]:
    """
    Return a repeated int64 field, packed or not.
    """
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(_signed(value))
        else:
            found.extend(_packed(value))
    return found


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
