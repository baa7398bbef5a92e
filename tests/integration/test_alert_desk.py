"""
The alerter's promises, over a real server: one group each, one message told anew, nothing lost, nothing sent twice.
"""

import asyncio
import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from fraudstream.adapters.redis_alert_answers import Actor
from fraudstream.adapters.slack import SlackAlertChannel
from fraudstream.domain.alert import Alert, Digest, Message, Notice, Severity
from fraudstream.domain.decision import Outcome
from fraudstream.domain.errors import AlertFailed, StreamUnavailable
from fraudstream.fleet.ports import Delivery
from fraudstream.local import LocalValkey
from fraudstream.stages.alert_desk import AlertDesk
from fraudstream.stages.alert_pace import PaceLimits
from fraudstream.stages.alert_policy import POLICIES, QuietHours, StormLimits
from fraudstream.stages.alert_ports import Settled
from tests.support.alert_hall import RememberingChannel, a_flagged, a_hall
from tests.support.fake_slack import fake_slack
from tests.support.swift_alerts import SWIFT
from tests.support.wait import wait_until

FREE = PaceLimits()


def _busy(retry_after_s: float | None = None) -> AlertFailed:
    return AlertFailed("slack", "500", permanent=False, retry_after_s=retry_after_s)


def _refused() -> AlertFailed:
    return AlertFailed("slack", "200 channel_not_found for jane@example.com", permanent=True)


def _slack(**changes: Any) -> dict[str, Any]:
    return {"slack": msgspec.structs.replace(SWIFT["slack"], **changes)}


async def test_siblings_share_one_message_that_is_told_anew_in_place(valkey: LocalValkey) -> None:
    # Long enough for all of a batch to be folded before it is told, however busy the machine is.
    gaps = dict.fromkeys(Severity, 1.0)
    async with a_hall(valkey.url, _slack(first_wait_s=gaps, gap_s=gaps)) as hall:
        slack = RememberingChannel("slack")
        hall.work(hall.desk(slack))

        await hall.flag(*(a_flagged(number, card="tok_1") for number in range(3)))
        await hall.idle("slack")
        await hall.flag(*(a_flagged(number, card="tok_1") for number in range(3, 12)))
        await hall.idle("slack")

        assert [message.transactions for message in slack.posts] == [3]
        assert [message.transactions for message in slack.updates] == [12]
        assert [len(message.transaction_ids) for message in [*slack.posts, *slack.updates]] == [3, 9]
        assert slack.replies == ["12 payments by now, 150.00 USD"]
        assert hall.members() == sorted(f"txn_{number}" for number in range(12))
        assert hall.side.xpending("transactions:fraud", "alerter")["pending"] == 0
        assert sum(count for _, _, count in hall.counts.ends) == 12


async def test_one_group_is_told_anew_no_more_often_than_its_gap(valkey: LocalValkey) -> None:
    gaps = dict.fromkeys(Severity, 0.4)
    async with a_hall(valkey.url, _slack(gap_s=gaps)) as hall:
        slack = RememberingChannel("slack")
        hall.work(hall.desk(slack))

        for number in range(20):
            await hall.flag(a_flagged(number, card="tok_1"))
            await asyncio.sleep(0.04)
        await hall.idle("slack")

        pairs = zip(slack.times_s, slack.times_s[1:], strict=False)
        assert min(later - earlier for earlier, later in pairs) >= 0.38, "the gap is that of the server's clock"
        assert slack.updates[-1].transactions == 20


async def test_a_second_entry_of_a_transaction_is_in_the_group_already(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        await hall.flag(a_flagged(1))

        handled = await hall.flag(a_flagged(1))

        assert len(handled.settled) == 1
        assert hall.members() == ["txn_1"]
        assert hall.side.xpending("transactions:fraud", "alerter")["pending"] == 0
        assert hall.counts.raised_of == [(Severity.CRITICAL, True)]


async def test_who_lost_an_entry_folds_nothing(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        entry_id = hall.side.xadd("transactions:fraud", {"decision": "x"})
        hall.side.xreadgroup("alerter", "heir", {"transactions:fraud": ">"})
        fields = {b"decision": msgspec.json.encode(a_flagged(1))}

        handled = await hall.stage.work([Delivery(entry_id=entry_id, fields=fields)])

        assert handled.settled == [entry_id]
        assert hall.members() == []
        assert hall.side.xpending("transactions:fraud", "alerter")["pending"] == 1


async def test_silence_ends_a_group_and_the_next_one_names_it(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url, silence_s=0.1) as hall:
        await hall.flag(a_flagged(1, card="tok_1"))
        await asyncio.sleep(0.15)

        await hall.flag(a_flagged(2, card="tok_1"))

        first, second = hall.group_of("txn_1"), hall.group_of("txn_2")
        assert first["id"] != second["id"]
        assert second["previous"] == first["id"]


async def test_a_louder_payment_makes_the_group_louder_and_says_so_below(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        slack = RememberingChannel("slack")
        hall.work(hall.desk(slack))
        await hall.flag(a_flagged(1, card="tok_1", outcome=Outcome.REVIEW))
        await hall.idle("slack")

        await hall.flag(a_flagged(2, card="tok_1"), a_flagged(3, card="tok_1", outcome=Outcome.REVIEW))
        await hall.idle("slack")

        assert [message.severity for message in slack.posts] == [Severity.WARNING]
        assert slack.updates[-1].severity is Severity.CRITICAL
        assert slack.replies[0].startswith("Severity rose to critical: Blocked")


async def test_what_fails_is_tried_again_until_it_is_told(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        slack = RememberingChannel("slack")
        slack.failures.extend([_busy(), _busy(), KeyError("a fault of ours")])
        hall.work(hall.desk(slack))

        await hall.flag(a_flagged(1))
        await hall.idle("slack")

        assert len(slack.posts) == 1
        assert slack.tries == 4
        assert hall.letters() == []
        assert [outcome for _, outcome in hall.counts.attempts] == ["failed"] * 3 + ["ok"]


async def test_a_refused_alert_is_undeliverable_at_once_and_the_letter_holds_all_of_it(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        slack = RememberingChannel("slack")
        slack.always = _refused()
        hall.work(hall.desk(slack))

        await hall.flag(a_flagged(1))
        await hall.idle("slack")

        (letter,) = hall.letters()
        assert (letter["channel"], letter["reason"], letter["tries"]) == ("slack", "refused", "1")
        assert letter["error"] == "200 channel_not_found for j***@example.com"
        assert msgspec.json.decode(letter["alert"], type=Alert).transaction_id == "txn_1"
        assert hall.side.ttl(f"alertgroup:{letter['alert_id']}") == -1, "kept until somebody deals with the letter"


async def test_after_too_many_tries_an_alert_is_undeliverable(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url, _slack(tries=3, pace=PaceLimits(failures_to_rest=100))) as hall:
        slack = RememberingChannel("slack")
        slack.always = _busy()
        hall.work(hall.desk(slack))

        await hall.flag(a_flagged(1))
        await hall.idle("slack")

        assert slack.tries == 3
        assert [(letter["reason"], letter["tries"]) for letter in hall.letters()] == [("too_many_tries", "3")]


async def test_what_has_failed_for_too_long_is_undeliverable(valkey: LocalValkey) -> None:
    changes = {"tries": 1000, "oldest_s": dict.fromkeys(Severity, 0.5), "pace": PaceLimits(failures_to_rest=1000)}
    async with a_hall(valkey.url, _slack(**changes)) as hall:
        slack = RememberingChannel("slack")
        slack.always = _busy()
        hall.work(hall.desk(slack))

        await hall.flag(a_flagged(1))
        await hall.idle("slack")

        assert [letter["reason"] for letter in hall.letters()] == ["too_old"]


async def test_being_throttled_pauses_the_channel_and_wears_no_alert_out(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url, _slack(tries=2)) as hall:
        slack = RememberingChannel("slack")
        slack.failures.extend([_busy(0.15)] * 5)
        hall.work(hall.desk(slack))

        await hall.flag(a_flagged(1), a_flagged(2))
        await hall.idle("slack")

        assert len(slack.posts) == 2
        assert hall.letters() == []
        assert ("slack", "throttled") in hall.counts.attempts


async def test_what_is_critical_and_refused_is_told_on_the_fallback(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        slack, email = RememberingChannel("slack"), RememberingChannel("email")
        slack.always = _refused()
        hall.work(hall.desk(slack, fallback="email"))
        hall.work(hall.desk(email))

        await hall.flag(a_flagged(1), a_flagged(2, outcome=Outcome.REVIEW))
        await hall.idle("slack", "email")

        assert [message.alert.transaction_id for message in email.posts if isinstance(message, Notice)] == ["txn_1"]
        assert len(hall.letters()) == 2


async def test_while_a_channel_is_away_the_fallback_tells_and_the_channel_follows(valkey: LocalValkey) -> None:
    pace = PaceLimits(failures_to_rest=2, rest_s=0.6, concurrent=1)
    async with a_hall(valkey.url, _slack(pace=pace, tries=50)) as hall:
        slack, email = RememberingChannel("slack"), RememberingChannel("email")
        slack.always = _busy()
        hall.work(hall.desk(slack, fallback="email"))
        hall.work(hall.desk(email))

        await hall.flag(*(a_flagged(number) for number in range(4)))
        await wait_until(lambda: email.posts, "the fallback tells")
        slack.always = None
        await hall.idle("slack", "email")

        assert len(slack.posts) == 4
        assert len(email.posts) <= 4
        assert hall.letters() == []


class _Deaf:
    """
    A book whose first notes of what was sent do not get through.
    """

    def __init__(self, book: Any, outages: int) -> None:
        self._book = book
        self.outages = outages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)

    async def settle(self, channel: str, settled: Settled) -> list[int] | None:
        if self.outages:
            self.outages -= 1
            raise StreamUnavailable("the server is away")
        noted: list[int] | None = await self._book.settle(channel, settled)
        return noted


class _Held(RememberingChannel):
    """
    A channel that takes nothing before it may.
    """

    def __init__(self) -> None:
        super().__init__("slack")
        self.may = asyncio.Event()

    async def post(self, message: Message) -> str:
        await self.may.wait()
        return await super().post(message)


class _Late:
    """
    A book whose answer to a look comes when what was under way has been told and noted.
    """

    def __init__(self, book: Any, channel: _Held) -> None:
        self._book = book
        self._channel = channel
        self.desk: AlertDesk | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)

    async def look(self, channel: str, *, openings: int) -> Any:
        view = await self._book.look(channel, openings=openings)
        if self.desk is not None and self.desk._flying:
            self._channel.may.set()
            await self.desk.idle()
        return view


async def test_what_was_told_while_a_look_was_answered_is_not_told_again(valkey: LocalValkey) -> None:
    """
    A look that was asked before a message was noted, and answered after it, had it told twice.
    """
    async with a_hall(valkey.url) as hall:
        slack = _Held()
        book = _Late(hall.book(), slack)
        book.desk = hall.desk(slack, book=book)
        hall.work(book.desk)

        await hall.flag(a_flagged(1))
        await hall.idle("slack")

        assert [message.transactions for message in slack.posts] == [1]
        assert slack.updates == []


async def test_an_outage_between_sending_and_noting_sends_nothing_twice(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        slack = RememberingChannel("slack")
        hall.work(hall.desk(slack, book=_Deaf(hall.book(), 1)))

        await hall.flag(a_flagged(1))
        await hall.idle("slack")

        assert len(slack.posts) == 1
        assert any("away" in error for error in hall.counts.errors)


async def test_a_drop_after_accepting_doubles_a_post_once_and_an_update_not_at_all(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        slack = RememberingChannel("slack")
        slack.accepts_before_failing = True
        slack.failures.append(_busy())
        hall.work(hall.desk(slack))
        await hall.flag(a_flagged(1, card="tok_1"))
        await hall.idle("slack")

        slack.failures.append(_busy())
        await hall.flag(a_flagged(2, card="tok_1"))
        await hall.idle("slack")

        assert len(slack.posts) == 2
        assert {message.alert_id for message in slack.posts} == {hall.group_of("txn_1")["id"]}
        assert len(slack.updates) == 2


async def test_one_process_leads_and_another_takes_over_when_it_is_gone(
    valkey: LocalValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraudstream.adapters.redis_alerts._LEAD_S", 2.0)
    async with a_hall(valkey.url) as hall:
        first, second = RememberingChannel("slack"), RememberingChannel("slack")
        leading = hall.work(hall.desk(first))
        await wait_until(lambda: hall.side.hget("alertdesk:slack", "leader"), "somebody leads")
        hall.work(hall.desk(second))
        await hall.flag(a_flagged(1))
        await hall.idle("slack")

        leading.cancel()
        await hall.flag(a_flagged(2))
        await hall.idle("slack")

        assert [message.alert.transaction_id for message in first.posts if isinstance(message, Notice)] == ["txn_1"]
        assert [message.alert.transaction_id for message in second.posts if isinstance(message, Notice)] == ["txn_2"]


async def test_who_lost_the_lead_notes_nothing(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        await hall.flag(a_flagged(1))
        old, new = hall.book("old"), hall.book("new")
        await asyncio.sleep(0.2)
        view = await old.look("slack", openings=1)
        assert view is not None
        hall.side.hdel("alertdesk:slack", "leader")
        await new.look("slack", openings=1)

        (errand,) = view.due
        noted = await old.settle("slack", Settled(errand=errand, outcome="delivered", action="posted"))
        await old.defer("slack", errand, 60.0, counted=True)

        assert noted is None
        assert [one.group.alert_id for one in (await new.look("slack", openings=1)).due] == [errand.group.alert_id]


async def test_a_clean_stop_hands_the_lead_on_at_once(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        stop = asyncio.Event()
        leading = asyncio.create_task(hall.desk(RememberingChannel("slack")).run(stop))
        await wait_until(lambda: hall.side.hget("alertdesk:slack", "leader"), "somebody leads")

        stop.set()
        await leading

        assert hall.side.hget("alertdesk:slack", "leader") is None


async def test_a_storm_is_one_digest_told_anew_and_says_when_it_is_over(valkey: LocalValkey) -> None:
    storm = StormLimits(enter_groups=10, leave_groups=3, window_s=3.0, calm_s=1.0)
    async with a_hall(valkey.url, _slack(storm=storm)) as hall:
        slack = RememberingChannel("slack")
        hall.work(hall.desk(slack))

        for start in range(0, 120, 40):
            await hall.flag(*(a_flagged(number) for number in range(start, start + 40)))
            folded = start + 40
            await wait_until(lambda least=folded: hall.counts.folded_of("slack") >= least, "they are folded")
        await wait_until(lambda: slack.updates and _over(slack.updates[-1]), "the storm is over")
        await hall.idle("slack")

        (digest,) = slack.posts
        last = slack.updates[-1]
        assert isinstance(digest, Digest)
        assert isinstance(last, Digest)
        assert (last.groups, last.transactions, last.value) == (120, 120, ("1,500.00 USD",))
        assert last.families == (("velocity", 120),)
        assert len(last.top) == 10
        assert hall.counts.storms == [True, False]
        assert sum(count for _, _, count in hall.counts.folds) == 120
        assert sum(count for _, _, count in hall.counts.ends) == 120
        assert hall.members() == sorted(f"txn_{number}" for number in range(120))


def _over(message: object) -> bool:
    return isinstance(message, Digest) and message.over


async def test_in_a_storm_much_money_is_still_told_alone(valkey: LocalValkey) -> None:
    storm = StormLimits(enter_groups=5, alone_major=1000.0, alone_most=2)
    async with a_hall(valkey.url, _slack(storm=storm)) as hall:
        slack = RememberingChannel("slack")
        hall.work(hall.desk(slack))

        await hall.flag(*(a_flagged(number, amount_minor=500_000) for number in range(4)), *map(a_flagged, range(10, 30)))
        await hall.idle("slack")

        alone = [message for message in slack.posts if isinstance(message, Notice)]
        digests = [message for message in slack.posts if isinstance(message, Digest)]
        assert len(alone) == 2
        assert digests[0].transactions + sum(one.transactions for one in alone) == 24


async def test_in_quiet_hours_only_the_critical_is_told_and_the_rest_waits_for_their_end(valkey: LocalValkey) -> None:
    now = datetime.now(UTC)
    quiet = QuietHours((now - timedelta(hours=1)).time(), (now + timedelta(hours=2)).time())
    async with a_hall(valkey.url, _slack(quiet=quiet)) as hall:
        slack = RememberingChannel("slack")
        hall.work(hall.desk(slack))

        await hall.flag(a_flagged(1), a_flagged(2, outcome=Outcome.REVIEW), a_flagged(3, outcome=Outcome.CHALLENGE))
        await wait_until(lambda: slack.posts and hall.counts.ends and hall.counts.folds, "one is told and the rest is folded")

        ((digest_id, due_ms),) = hall.side.zrange("alertdue:slack", 0, -1, withscores=True)
        assert [message.severity for message in slack.posts] == [Severity.CRITICAL]
        assert digest_id.startswith(b"dg_")
        assert abs(due_ms / 1000 - (now + timedelta(hours=2)).timestamp()) < 5
        assert hall.counts.folds == [("slack", "quiet", 2)]


async def test_what_is_for_information_comes_as_a_digest(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url, _slack(info_gap_s=0.3)) as hall:
        slack = RememberingChannel("slack")
        hall.work(hall.desk(slack))

        await hall.flag(*(a_flagged(number, outcome=Outcome.CHALLENGE) for number in range(3)))
        await hall.idle("slack")
        await hall.flag(a_flagged(9, outcome=Outcome.CHALLENGE))
        await hall.idle("slack")

        assert [(message.reason, message.transactions) for message in slack.posts if isinstance(message, Digest)] == [
            ("info", 3),
            ("info", 1),
        ]


async def test_an_undeliverable_alert_can_be_sent_again_and_then_only_once(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        slack = RememberingChannel("slack")
        slack.failures.append(_refused())
        hall.work(hall.desk(slack))
        await hall.flag(a_flagged(1))
        await hall.idle("slack")
        (letter,) = await hall.answers.undelivered(10)

        done = [await hall.answers.take_out(letter, Actor("ann", "test"), again=True) for _ in range(2)]
        await hall.idle("slack")

        assert done == [True, False]
        assert [message.transactions for message in slack.posts] == [1]
        assert hall.letters() == []
        assert hall.side.ttl(f"alertgroup:{letter.alert_id}") > 0


async def test_what_holds_no_decision_leaves_a_letter_and_its_neighbours_are_folded(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        good = hall.side.xadd("transactions:fraud", {"decision": msgspec.json.encode(a_flagged(1))})
        hall.side.xreadgroup("alerter", "me", {"transactions:fraud": ">"})
        broken = [
            Delivery(entry_id=b"1-%d" % number, fields={**fields, b"note": b"4111111111111111"})
            for number, fields in enumerate(
                ({b"x": b"1"}, {b"decision": b"{"}, {b"decision": b"\xff"}, {b"decision": b"[" * 50_000})
            )
        ]
        body = {b"decision": msgspec.json.encode(a_flagged(1))}

        handled = await hall.stage.work([*broken, Delivery(entry_id=good, fields=body)])

        assert [letter.reason for letter in handled.letters] == ["schema_invalid", *["decode_error"] * 3]
        assert all(letter.fields[b"note"] == b"[PAN *1111]" for letter in handled.letters)
        assert handled.done == [delivery.entry_id for delivery in broken]
        assert hall.members() == ["txn_1"]


async def test_nothing_is_left_without_an_end(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        slack = RememberingChannel("slack")
        hall.work(hall.desk(slack))
        await hall.flag(*map(a_flagged, range(40)))
        await hall.idle("slack")

        endless = {key.decode() for key in hall.side.keys("*") if hall.side.ttl(key) == -1}

        assert endless <= {
            "transactions:fraud", "alerts:journal", "alertdesk:slack", "alertdigests:slack", "alerts:opened", "alerts:recent",
        }  # fmt: skip


@pytest.fixture(autouse=True)
def _no_wait_for_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SWIFT, "slack", msgspec.structs.replace(SWIFT["slack"], pace=FREE))  # type: ignore[arg-type]


class _Doubted(SlackAlertChannel):
    """
    Slack's channel, with a count of the posts of which nobody knows whether they arrived: lost replies, and slow ones.
    """

    doubts = 0

    async def post(self, message: Message) -> str:
        try:
            return await super().post(message)
        except AlertFailed as exc:
            self.doubts += "no answer" in exc.detail
            raise


async def test_a_moody_slack_gets_every_alert_and_at_most_one_double_per_drop(valkey: LocalValkey) -> None:
    moods, draws = random.Random(11), ("429:0.05", "429:0.21", "500", "502", "drop", "timeout", "internal_error", "page")
    free = PaceLimits(concurrent=8, failures_to_rest=1000)
    async with (
        fake_slack(lambda: moods.choice(draws) if moods.random() < 0.3 else "ok") as slack,
        a_hall(valkey.url, _slack(storm=None, tries=1000, pace=free)) as hall,
    ):
        channel = _Doubted("xoxb-test", "#fraud", base_url=slack.base_url, timeout_s=1.0)
        hall.work(hall.desk(channel))
        await hall.flag(*map(a_flagged, range(100)))
        await hall.idle("slack")
        await hall.flag(*(a_flagged(100 + number, card=f"tok_{number:08}") for number in range(100)))
        await hall.idle("slack")
        await hall.close()
        await channel.close()

        posts = Counter(message["metadata"]["event_payload"]["alert_id"] for message in slack.posts)
        told = [message for message in slack.now.values() if "(2 payments)" in str(message)]
        now = {message["metadata"]["event_payload"]["alert_id"] for message in told}
        assert len(posts) == len(now) == 100
        assert 0 < posts.total() - 100 <= channel.doubts
        assert hall.letters() == []
        assert {fate.partition(":")[0] for _, _, fate in slack.log} >= {"ok", "429", "500", "502", "drop", "timeout"}


async def test_a_channel_without_a_budget_is_told_of_many_at_once(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url, {"console": POLICIES["console"]}) as hall:
        console = RememberingChannel("console")
        hall.work(hall.desk(console))

        await hall.flag(*map(a_flagged, range(300)))
        started_s = time.monotonic()
        await hall.idle("console")

        assert time.monotonic() - started_s < 40, "five a second would take a minute"
        told = [message.alert.transaction_id for message in console.posts if isinstance(message, Notice)]
        assert sorted(told) == sorted(f"txn_{number}" for number in range(300))
