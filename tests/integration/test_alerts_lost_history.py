"""
Alert groups that a flush or a failover took while a message about them was under way.
"""

from redis import Redis

from fraudstream.adapters.redis_alerts import ALERT_LOOK, ALERT_SETTLE
from fraudstream.adapters.redis_scripts import ALERT_DEFER, Call, run_blocking
from fraudstream.local import LocalValkey

DESK, DUE, GROUP, MEMBERS = "alertdesk:console", "alertdue:console", "alertgroup:al_1", "alertmembers:al_1"
LOOK = Call(ALERT_LOOK, (DESK, DUE, "alerts:opened"), ("me", 5000, 10, 1, "alertgroup:"))
SETTLE = Call(
    ALERT_SETTLE,
    (DESK, DUE, GROUP, MEMBERS, "alerts:journal", "alerts:undeliverable", DUE),
    ("me", "console", "al_1", 1, 1, "delivered", "place", 0, 2, "", "", "", 1000, 0),
)
DEFER = Call(ALERT_DEFER, (DESK, DUE, GROUP, DUE), ("me", "console", "al_1", 0, 1, ""))


def test_what_is_noted_of_a_group_that_is_gone_makes_no_group_without_a_name(valkey: LocalValkey) -> None:
    with Redis.from_url(valkey.url) as client:
        run_blocking(client, LOOK)

        told = run_blocking(client, SETTLE)
        run_blocking(client, DEFER)

        assert told == []
        assert not client.exists(GROUP)
        assert client.zcard(DUE) == 0


def test_a_rest_of_a_group_that_is_gone_does_not_end_the_desk(valkey: LocalValkey) -> None:
    with Redis.from_url(valkey.url) as client:
        client.hset(GROUP, "console:told", 1)
        client.hset("alertgroup:al_2", mapping={"id": "al_2", "n": 1})
        client.zadd(DUE, {"al_1": 0, "al_2": 0})

        groups = run_blocking(client, LOOK)[4]

        assert [dict(zip(flat[::2], flat[1::2], strict=True))[b"id"] for flat in groups] == [b"al_2"]
        assert not client.exists(GROUP)
