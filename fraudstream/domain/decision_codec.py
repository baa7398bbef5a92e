"""
Decisions, the verdicts that they are joined from and the labels that follow, between their bytes and the nouns of this room.
"""

import struct
from collections.abc import Mapping

import msgspec

from fraudstream.domain.decision import Decision, Label
from fraudstream.domain.errors import InvalidLabel
from fraudstream.domain.evidence import ModelVerdict, RulesVerdict, Verdict
from fraudstream.domain.masking import has_card_number, is_card_number_id

_decision_decoder = msgspec.json.Decoder(Decision)
_label_decoder = msgspec.json.Decoder(Label)
_encoder = msgspec.json.Encoder()
_verdict_encoder = msgspec.msgpack.Encoder()
_verdict_decoder: msgspec.msgpack.Decoder[Verdict] = msgspec.msgpack.Decoder(RulesVerdict | ModelVerdict)


def encode_decision(decision: Decision) -> bytes:
    """
    Write a decision as the JSON that ``transactions:decisions`` and ``transactions:fraud`` carry.
    """
    return _encoder.encode(decision)


def decode_decision(body: bytes) -> Decision:
    """
    Read what ``encode_decision`` wrote.

    Raises:
        msgspec.MsgspecError: The bytes are not a decision of this schema.
    """
    return _decision_decoder.decode(body)


def decode_label(fields: Mapping[bytes, bytes]) -> Label:
    """
    Read the label of one entry of ``transactions:labels``.

    Raises:
        InvalidLabel: With reason ``schema_invalid``, ``decode_error`` or ``card_number``.
    """
    body = fields.get(b"data")
    if body is None:
        raise InvalidLabel("schema_invalid", "the entry has no field 'data'; it must hold one JSON object")
    try:
        label = _label_decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise InvalidLabel("schema_invalid", str(exc)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidLabel("decode_error", "the body is not JSON in UTF-8") from None
    if not label.label_id or not label.transaction_id or label.labelled_at.tzinfo is None:
        raise InvalidLabel("schema_invalid", "a label needs label_id, transaction_id and a time with offset")
    for name in ("label_id", "transaction_id", "source"):
        text = getattr(label, name)
        if is_card_number_id(text) if text.isdecimal() and name != "source" else has_card_number(text):
            raise InvalidLabel("card_number", f"field '{name}' holds a clear card number; send a token instead")
    return label


class VerdictRecord(msgspec.Struct, frozen=True, gc=False):
    """
    The first verdict as it stands in the transaction's record.

    ``group`` is the byte of the group that wrote it, ``write_id`` the eight bytes that name this very write, ``vector`` the
    features that the verdict was computed from (float32, little endian), which are the transaction's for good.
    """

    group: bytes
    write_id: bytes
    feature_set: str
    vector: bytes
    verdict: Verdict


#: Group byte, write id, feature set (eight bytes), length of the vector in bytes.
_RECORD_HEAD = struct.Struct("<c8s8sH")


def encode_verdict(record: VerdictRecord) -> bytes:
    """
    Write the record of a first verdict, head first, so that a script can compare the write id in place.
    """
    head = _RECORD_HEAD.pack(record.group, record.write_id, bytes.fromhex(record.feature_set), len(record.vector))
    return head + record.vector + _verdict_encoder.encode(record.verdict)


def decode_verdict(raw: bytes) -> VerdictRecord:
    """
    Read what ``encode_verdict`` wrote.
    """
    group, write_id, feature_set, length = _RECORD_HEAD.unpack_from(raw)
    start = _RECORD_HEAD.size
    return VerdictRecord(
        group=group,
        write_id=write_id,
        feature_set=feature_set.hex(),
        vector=raw[start : start + length],
        verdict=_verdict_decoder.decode(raw[start + length :]),
    )
