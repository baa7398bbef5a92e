"""
Where bodies and entities belong, and that the names of a partition lie on one slot.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from fraudstream.adapters.redis_finders import Found, several_hosts
from fraudstream.adapters.redis_keys import DECISIONS, DLQ, FRAUD, RAW, Keys, Partitions
from fraudstream.adapters.redis_routing import partition_of
from fraudstream.domain.errors import InvalidSettings

WORDS = st.text(min_size=1, max_size=20)
COUNTS = st.integers(1, 200)


@given(count=COUNTS, user=WORDS, card=WORDS, rest=st.dictionaries(st.sampled_from(["amount", "merchant"]), WORDS))
def test_a_body_goes_where_its_user_belongs_whatever_else_it_says(
    count: int, user: str, card: str, rest: dict[str, str]
) -> None:
    partitions = Partitions(count)

    one = partition_of(json.dumps({**rest, "card_id": card, "user_id": user}).encode(), partitions)
    other = partition_of(json.dumps({"user_id": user, "transaction_id": "t"}, ensure_ascii=False).encode(), partitions)

    assert one == other == partitions.of(user)
    assert 0 <= one < count


@given(count=COUNTS, card=WORDS, identity=WORDS)
def test_without_a_user_the_card_decides_and_without_a_card_the_transaction(count: int, card: str, identity: str) -> None:
    partitions = Partitions(count)

    by_card = partition_of(json.dumps({"user_id": None, "card_id": card, "transaction_id": identity}).encode(), partitions)
    by_id = partition_of(json.dumps({"user_id": "", "transaction_id": identity}).encode(), partitions)

    assert (by_card, by_id) == (partitions.of(card), partitions.of(identity))


def test_a_number_counts_as_its_digits() -> None:
    partitions = Partitions(64)

    assert partition_of(b'{"user_id": 4711}', partitions) == partition_of(b'{"user_id": "4711"}', partitions)


@given(count=COUNTS, body=st.binary(max_size=40) | st.sampled_from([b"[]", b"{}", b'"x"', b"null", b'{"user_id": [1]}']))
def test_whatever_is_no_transaction_goes_somewhere_and_always_there(count: int, body: bytes) -> None:
    found = partition_of(body, Partitions(count))

    assert 0 <= found < count
    assert found == partition_of(bytes(body), Partitions(count))


@given(count=st.integers(2, 200), word=WORDS, data=st.data())
def test_every_name_of_a_partition_lies_on_one_slot(count: int, word: str, data: st.DataObject) -> None:
    keys = Partitions(count).keys(data.draw(st.integers(0, count - 1)))

    names = [
        *(keys.stream(name) for name in (RAW, DECISIONS, FRAUD, DLQ)),
        keys.txn(word), keys.prefix("log") + word, keys.prefix("moved") + word, keys.waiting("fraud-check"),
        keys.heartbeat("recorder", keys.stream(DECISIONS)), keys.retry("alerter", keys.stream(FRAUD)), keys.dead(RAW, word),
        keys.alert_of(word), keys.alert_due("slack"),
    ]  # fmt: skip

    assert {key_slot(name.encode()) for name in names} == {key_slot(keys.tag.encode())}


def test_one_partition_has_the_plain_names() -> None:
    assert Partitions(1).all() == [Keys()]
    assert Partitions(1).keys(0).stream(RAW) == "transactions:raw"


def test_many_users_spread_evenly() -> None:
    partitions = Partitions(16)

    counts = [0] * 16
    for number in range(16_000):
        counts[partitions.of(f"user_{number}")] += 1

    assert 900 < min(counts) <= max(counts) < 1_100


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "rest"),
    [
        ("redis+cluster://a:1,b:2", "cluster", (Found("a", 1), Found("b", 2)), {"tls": False}),
        ("rediss+cluster://me:s%40t@a", "cluster", (Found("a", 6379),), {"tls": True, "username": "me", "password": "s@t"}),
        ("redis+sentinel://a,[::1]:9/m/2", "sentinel", (Found("a", 26379), Found("::1", 9)), {"service": "m", "database": 2}),
    ],
)  # fmt: skip
def test_an_address_may_name_several_servers(url: str, kind: str, hosts: tuple[Found, ...], rest: dict[str, Any]) -> None:
    found = several_hosts(url)

    assert found is not None
    assert (found.kind, found.hosts) == (kind, hosts)
    assert {name: getattr(found, name) for name in rest} == rest


def test_a_plain_address_names_one_server() -> None:
    assert several_hosts("redis://127.0.0.1:6379/0") is None


@pytest.mark.parametrize("url", ["redis+sentinel://a:1", "redis+cluster://", "redis+cluster://a:b", "redis+cluster://a/3"])
def test_an_address_that_says_too_little_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="REDIS_URL"):
        several_hosts(url)
