"""
Card numbers, codes, tracks, e-mail addresses and phone numbers in every position of every input: the bytes that come out.

Only the letter in the stream keeps e-mail and phone, because a replay needs them; transactions:raw holds what came in.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
from redis import Redis
from typer.testing import CliRunner

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.cli.main import app
from fraudstream.domain.transaction import Transaction
from tests.support.shell import servers_of
from tests.support.system import a_system, append, wait_until_done

EVERY_GROUP = "fraud-check,ml-scoring,recorder,labels,alerter"
CARDS = ("4111111111111111", "4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005")
EMAILS = ("jane.doe@example.com", "Max.Power+shop@mail.example.org")
PHONES = ("+33 6 12 34 56 78", "+4915112345679")
CODE, PIN = "cvv-8642097", "pin-7531902"
TRACKS = ("%B4111111111111111^DOE/JANE^29121011000012300000?", ";5555555555554444=29121010000045600000?")
#: What must not be found anywhere, and what may be found in letters and in what came in.
NEVER = ("4111111111111111", "1111 1111 1111", "5555-5555", "555555555555", "378282246310005", CODE, PIN, "0000123", "0000456")
PERSONAL = ("jane.doe", "max.power", "12 34 56 78", "15112345679")
FIELDS = [name for name in Transaction.__struct_fields__ if not name.endswith(("_minor", "_ms"))]
FIELDS = [name for name in FIELDS if name not in ("latitude", "longitude", "metadata", "currency")]


def a_body(number: int, **fields: Any) -> bytes:
    """
    Write a payment that is always flagged: its country is on a list of the shipped rules.
    """
    plain = {
        "transaction_id": f"t_{number}",
        "amount": 12.5,
        "timestamp": int(time.time()) - 5,
        "country": "KP",
        "user_id": "u",
    }
    return json.dumps({**plain, **fields}, ensure_ascii=number % 2 == 0).encode()


def values(rng: random.Random) -> Iterator[Any]:
    """
    Yield every secret, alone, inside a sentence, and deep inside metadata under names and in lists.
    """
    for secret in (*CARDS, *EMAILS, *PHONES, *TRACKS):
        yield secret
        yield f"call {secret} now, or {rng.choice(EMAILS)}"


def bodies() -> list[bytes]:
    rng = random.Random(7)
    made: list[bytes] = []
    for secret in values(rng):
        number = len(made)
        made += [a_body(number + at, **{name: secret}) for at, name in enumerate(FIELDS)]
        number = len(made)
        nested = {
            "note": secret,
            secret: [{"deep": [secret]}],
            "cvv": CODE,
            "card": {"pin_block": {"v": PIN}},
            "track2": TRACKS[1],
        }
        made += [
            a_body(number, metadata=nested),
            a_body(number + 1, **{"unknown field": secret, "CVV": CODE, "x_pin": PIN}),
            a_body(number + 2, amount=secret, cvv2=CODE, pin=PIN),
            a_body(number + 3, timestamp=secret),
            b'{"broken": "' + secret.encode() + b'", "cvv": "' + CODE.encode() + b'", pin=' + PIN.encode(),
            secret.encode(),
        ]
    made.append(a_body(len(made), metadata={"number": int(CARDS[0])}))
    return made


def labels() -> list[dict[str, Any]]:
    secrets = (*CARDS, *EMAILS, *PHONES)
    plain = {"transaction_id": "t_1", "label": "fraud", "source": "desk", "labelled_at": "2026-01-15T12:00:00Z"}
    return [
        {**plain, "label_id": f"l_{at}_{name}", name: secret}
        for at, secret in enumerate(secrets)
        for name in (*plain, "label_id")
    ]


def found_in(content: bytes | str, secrets: tuple[str, ...]) -> list[str]:
    text = (content.decode(errors="replace") if isinstance(content, bytes) else content).lower()
    return [secret for secret in secrets if secret.lower() in text]


async def every_row(url: str) -> dict[str, str]:
    client = await asyncpg.connect(url)
    tables = await client.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    )
    rows = {
        one["relname"]: str([r[0] for r in await client.fetch(f"SELECT t::text FROM {one['relname']} AS t")]) for one in tables
    }
    await client.close()
    return rows


def in_redis(client: "Redis[bytes]") -> dict[str, bytes]:
    """
    Return the bytes of every key but what came in, by its name; the name is part of them.
    """
    found: dict[str, bytes] = {}
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        value: Any = b""
        if kind == b"stream":
            value = client.xrange(key)
        elif kind == b"string":
            value = client.get(key)
        elif kind == b"hash":
            value = client.hgetall(key)
        found[key.decode(errors="replace")] = key + repr(value).encode()
    return {name: value for name, value in found.items() if name not in ("transactions:raw", "transactions:labels")}


async def test_what_comes_in_personal_comes_out_nobodys(tmp_path: Path) -> None:
    sent = bodies()
    with (
        a_system((EVERY_GROUP,), log_level="debug") as system,
        Redis.from_url(system.valkey.url) as client,
    ):
        await migrate(system.postgres.url)
        append(client, sent)
        client.xadd("transactions:raw", {"cvv": CODE, CARDS[0]: EMAILS[0], "other": "x"})
        for one in labels():
            client.xadd("transactions:labels", {"data": json.dumps(one)})
        system.start_workers()
        wait_until_done(client, tuple(EVERY_GROUP.split(",")))
        given = servers_of(system.valkey.url, system.postgres.url)
        files = [tmp_path / name for name in ("d.csv", "d.jsonl", "l.ndjson")]
        words = (
            ["dlq", "list", "-n", "1000"], ["dlq", "list", "--json", "-n", "1000"], ["dlq", "export", str(files[2])],
            ["decisions", "export", str(files[0])], ["decisions", "export", str(files[1])],
            ["decisions", "search", "--limit", "1000", "--json"],
            ["dlq", "discard", "--all", "--reason", f"test of {EMAILS[0]} {CARDS[0]}", "--execute", "--yes"],
        )  # fmt: skip
        redis = in_redis(client)
        outputs = {" ".join(one[:2]): await asyncio.to_thread(CliRunner().invoke, app, one, env=given) for one in words}
        rows = await every_row(system.postgres.url)
        logs = b"".join(path.read_bytes() for path in system.folder.rglob("*") if path.is_file())

    letters = redis.pop("transactions:dlq")
    assert {name: done.output for name, done in outputs.items() if done.exit_code} == {}
    assert found_in(letters, NEVER) == [], "no letter keeps a card number, a code, a PIN or a track"
    assert found_in(letters, PERSONAL) == list(PERSONAL), "a replay needs them"
    everything = {
        "logs": logs,
        **{f"table {name}": text for name, text in rows.items()},
        **{f"key {name}": value for name, value in redis.items()},
        **{name: done.output for name, done in outputs.items()},
        **{path.name: path.read_bytes() for path in files},
    }
    leaks = {name: found_in(content, NEVER + PERSONAL) for name, content in everything.items()}
    assert {name: found for name, found in leaks.items() if found} == {}
    flagged = rows["fraud_transactions"]
    assert "email_" in flagged
    assert "@example.com" in flagged, "rules look at the domain"
    assert "phone_" in flagged
    assert len(rows["dead_letters"]) > 10_000
    assert b"alert" in logs
    assert files[0].stat().st_size > 100_000
