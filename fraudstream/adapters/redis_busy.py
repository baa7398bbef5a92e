"""
What is looked at while a fleet is kept busy: how much waits, what was decided, and which commands took Redis long.
"""

from collections.abc import AsyncIterator
from itertools import chain

from redis.asyncio import Redis

from fraudstream.adapters.redis_account import waiting
from fraudstream.adapters.redis_keys import DECISIONS
from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.adapters.redis_scripts import Argument, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.decision import Decision
from fraudstream.domain.decision_codec import decode_decision

_DECIDING = ("fraud-check", "ml-scoring")
#: Entries of one read of the decisions.
_PAGE = 200


class RedisBusy:
    """
    One Redis under load, and the rules and lists in it.
    """

    def __init__(self, client: Redis) -> None:
        self._client = plain(client)
        self.lists = RedisLists(client)
        self.rule_sets = RedisRuleSets(client)

    async def backlog(self) -> int:
        """
        Return how many entries wait for the deciding group that is further behind.
        """
        return max((await waiting(self._client, _DECIDING)).values(), default=0)

    async def decisions(self) -> AsyncIterator[Decision]:
        """
        Return every decision that was emitted.
        """
        begin: Argument = "-"
        while True:
            (page,) = await run(self._client, [("XRANGE", DECISIONS, begin, "+", "COUNT", _PAGE)])
            for value in chain.from_iterable(flat[1::2] for _, flat in page):
                yield decode_decision(value)
            if len(page) < _PAGE:
                return
            begin = b"(" + page[-1][0]

    async def note_slow(self, from_us: int, *, most: int = 10_000) -> None:
        """
        Let the server note commands that take longer.
        """
        commands = [("CONFIG", "SET", "slowlog-log-slower-than", str(from_us)), ("CONFIG", "SET", "slowlog-max-len", str(most))]
        await run(self._client, commands)

    async def slow_ms(self, about: bytes) -> list[float]:
        """
        Return how long each noted command took whose words name something, in milliseconds.
        """
        (entries,) = await run(self._client, [("SLOWLOG", "GET", "-1")])
        return [int(entry[2]) / 1e3 for entry in entries if about in b" ".join(entry[3])]
