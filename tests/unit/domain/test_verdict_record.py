"""
The record of a first verdict: what is written is what is read, and the write id stands where the script compares it.
"""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.domain.decision_codec import VerdictRecord, decode_verdict, encode_verdict
from fraudstream.domain.evidence import Action, Fallback, ModelVerdict, Reason, RuleHit, RulesVerdict, Verdict

_words = st.text(max_size=20)
_numbers = st.floats(allow_nan=False)
_hits = st.builds(
    RuleHit,
    rule_id=_words,
    action=st.sampled_from(Action),
    reason=_words,
    points=_numbers,
    priority=st.integers(-1000, 1000),
    explanation=_words,
    tags=st.lists(_words, max_size=3).map(tuple),
)
_reasons = st.builds(Reason, code=_words, text=_words, value=st.none() | _numbers, contribution=st.none() | _numbers)
_fallbacks = st.none() | st.sampled_from(Fallback)
_verdicts = st.one_of(
    st.builds(
        RulesVerdict,
        rule_set=_words,
        lists=st.dictionaries(_words, _words, max_size=3),
        hits=st.lists(_hits, max_size=3).map(tuple),
        shadow_hits=st.lists(_hits, max_size=2).map(tuple),
        fallback=_fallbacks,
    ),
    st.builds(
        ModelVerdict,
        model=_words,
        score=st.none() | _numbers,
        reasons=st.lists(_reasons, max_size=3).map(tuple),
        fallback=_fallbacks,
    ),
)


@given(
    _verdicts,
    st.sampled_from([b"F", b"M"]),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=8, max_size=8).map(bytes.hex),
    st.binary(max_size=65_535),
)
def test_a_record_round_trip(verdict: Verdict, group: bytes, write_id: bytes, feature_set: str, vector: bytes) -> None:
    record = VerdictRecord(group, write_id, feature_set, vector, verdict)

    assert decode_verdict(encode_verdict(record)) == record


def test_nan_in_a_vector_survives_bit_by_bit() -> None:
    vector = struct.pack("<2f", float("nan"), -0.0)
    record = VerdictRecord(b"F", b"12345678", "0123456789abcdef", vector, ModelVerdict(model="m", score=0.5))

    assert decode_verdict(encode_verdict(record)).vector == vector


@pytest.mark.parametrize("group", [b"F", b"M"])
def test_the_group_stands_first_and_the_write_id_behind_it(group: bytes) -> None:
    raw = encode_verdict(VerdictRecord(group, b"12345678", "0123456789abcdef", b"", RulesVerdict(rule_set="")))

    assert raw[:1] == group
    assert raw[1:9] == b"12345678"


def test_a_record_is_never_mistaken_for_a_place_of_one_byte() -> None:
    raw = encode_verdict(VerdictRecord(b"F", b"12345678", "0123456789abcdef", b"", ModelVerdict(model="")))

    assert len(raw) > 1
