import asyncio
import itertools
import json
import random
from collections import deque
from collections.abc import Sequence

import msgspec
import pytest

from fraudstream.adapters.slack import SlackAlertChannel
from fraudstream.domain.alert import Alert, Severity
from fraudstream.domain.codec import encode_decision
from fraudstream.domain.decision import Outcome
from fraudstream.domain.errors import AlertFailed, StreamUnavailable
from fraudstream.fleet.lane import LaneLimits
from fraudstream.fleet.ports import AlertChannel, Delivery, Handled
from fraudstream.stages.alerter import Alerter
from tests.support.builders import NOW_MS, a_decision, a_transaction
from tests.support.fake_outbox import FakeOutbox
from tests.support.fake_slack import fake_slack
from tests.support.wait import wait_until

Failure = AlertFailed | Exception


class HandClock:
    def __init__(self) -> None:
        self.ms = float(NOW_MS)

    def now_ms(self) -> int:
        return int(self.ms)

    def forward(self, seconds: float) -> None:
        self.ms += seconds * 1000


class FakeChannel:
    """
    Takes every alert, unless a failure is planned; notes when it took which.
    """

    def __init__(self, name: str, clock: HandClock) -> None:
        self._name = name
        self._clock = clock
        self.sent: list[Alert] = []
        self.times_s: list[float] = []
        self.tried = 0
        self.failures: deque[Failure | None] = deque()
        self.always: Failure | None = None
        self.held: asyncio.Event | None = None

    @property
    def name(self) -> str:
        return self._name

    async def send(self, alert: Alert) -> None:
        self.tried += 1
        if self.held is not None:
            await self.held.wait()
        failure = self.failures.popleft() if self.failures else self.always
        if failure is not None:
            raise failure
        self.sent.append(alert)
        self.times_s.append((self._clock.now_ms() - NOW_MS) / 1000)

    async def close(self) -> None:
        return


class Counts:
    def __init__(self) -> None:
        self.alerts: list[Severity] = []
        self.tries: list[tuple[str, str]] = []
        self.ends: list[tuple[str, str, float]] = []

    def raised(self, severity: Severity) -> None:
        self.alerts.append(severity)

    def attempted(self, channel: str, outcome: str) -> None:
        self.tries.append((channel, outcome))

    def ended(self, alert: Alert, channel: str, outcome: str, latency_s: float) -> None:
        self.ends.append((channel, outcome, latency_s))


class Desk:
    """
    An alerter with its channels, and the part of the fleet that hands deliveries out and takes them back.
    """

    def __init__(self, *names: str, limits: dict[str, LaneLimits] | None = None) -> None:
        self.clock = HandClock()
        self.outbox = FakeOutbox()
        self.counts = Counts()
        self.channels = {name: FakeChannel(name, self.clock) for name in names}
        self.limits = limits
        self.waiting: dict[bytes, tuple[float, Delivery]] = {}
        self.over: set[bytes] = set()
        self.letters: list[object] = []
        self.alerter = self.restarted(tuple(self.channels.values()))

    def restarted(self, channels: Sequence[AlertChannel] | None = None) -> Alerter:
        self.alerter = Alerter(
            channels or tuple(self.channels.values()),
            self.outbox,
            self.clock,
            limits=self.limits,
            rng=random.Random(7),
            report=self.counts,
        )
        return self.alerter

    async def work(self, *deliveries: Delivery) -> Handled:
        handled = await self.alerter.work(deliveries)
        told = [*handled.settled, *handled.done, *handled.retry]
        assert sorted(told) == sorted(delivery.entry_id for delivery in deliveries)
        by_id = {delivery.entry_id: delivery for delivery in deliveries}
        self.over.update(handled.settled, handled.done)
        self.letters.extend(handled.letters)
        for entry_id, seconds in handled.retry.items():
            again = msgspec.structs.replace(by_id[entry_id], deliveries=by_id[entry_id].deliveries + 1)
            self.waiting[entry_id] = (self.clock.ms + seconds * 1000, again)
        return handled

    async def until_over(self, *, at_most_s: float = 1e9) -> None:
        """
        Hand out again what is due, alone and in order of its time, until nothing waits or so much time has gone by.
        """
        end_ms = self.clock.ms + at_most_s * 1000
        while self.waiting:
            entry_id = min(self.waiting, key=lambda key: self.waiting[key][0])
            due_ms, delivery = self.waiting[entry_id]
            if due_ms > end_ms:
                self.clock.ms = end_ms
                return
            del self.waiting[entry_id]
            self.clock.ms = max(self.clock.ms, due_ms)
            await self.work(delivery)


def _flagged(number: int, outcome: Outcome = Outcome.BLOCK) -> Delivery:
    decision = a_decision(a_transaction(transaction_id=f"txn_{number}"), outcome=outcome)
    fields = {b"transaction_id": f"txn_{number}".encode(), b"decision": encode_decision(decision)}
    return Delivery(entry_id=f"{NOW_MS}-{number}".encode(), fields=fields)


def _busy(retry_after_s: float | None = None) -> AlertFailed:
    return AlertFailed("x", "busy", permanent=False, retry_after_s=retry_after_s)


UNLIMITED = LaneLimits(concurrent=1000, patience_s=0.0)


async def test_an_alert_goes_to_every_channel_once_and_is_acknowledged_with_the_last() -> None:
    desk = Desk("slack", "email", "console")

    handled = await desk.work(_flagged(1))

    assert handled.settled == [f"{NOW_MS}-1".encode()]
    assert [len(channel.sent) for channel in desk.channels.values()] == [1, 1, 1]
    assert desk.outbox.alerts["txn_1"] == {"slack": "delivered", "email": "delivered", "console": "delivered"}
    assert desk.counts.alerts == [Severity.CRITICAL]
    assert sorted(desk.counts.ends) == [("console", "delivered", 0.0), ("email", "delivered", 0.0), ("slack", "delivered", 0.0)]


async def test_a_channel_that_is_settled_is_not_told_again_after_a_crash() -> None:
    desk = Desk("slack", "console")
    desk.outbox.alerts["txn_1"] = {"slack": "delivered"}

    await desk.work(_flagged(1))

    assert len(desk.channels["slack"].sent) == 0
    assert len(desk.channels["console"].sent) == 1
    assert desk.outbox.acknowledged == {f"{NOW_MS}-1".encode()}


async def test_an_entry_whose_channels_are_all_settled_is_acknowledged_without_a_word() -> None:
    desk = Desk("slack", "console")
    desk.outbox.alerts["txn_1"] = {"slack": "delivered", "console": "undeliverable"}

    handled = await desk.work(_flagged(1))

    assert handled.done == [f"{NOW_MS}-1".encode()]
    assert desk.counts.tries == []


async def test_an_outage_between_sending_and_noting_sends_nothing_twice() -> None:
    desk = Desk("slack", "email", "console")
    desk.outbox.outages = 2
    batch = [_flagged(1), _flagged(2)]
    with pytest.raises(StreamUnavailable):
        await desk.work(*batch)

    await desk.work(*batch)

    assert [len(channel.sent) for channel in desk.channels.values()] == [2, 2, 2]
    assert len(desk.outbox.acknowledged) == 2


async def test_an_outage_cuts_no_other_sending_off() -> None:
    desk = Desk("slack", "console")
    slack = desk.channels["slack"]
    slack.held = asyncio.Event()
    desk.outbox.outages = 1
    working = asyncio.create_task(desk.work(_flagged(1)))
    await wait_until(lambda: slack.tried == 1 and not desk.outbox.outages, "the console could not be noted")

    ended_early, _ = await asyncio.wait([working], timeout=0)
    slack.held.set()
    with pytest.raises(StreamUnavailable):
        await working
    await desk.work(_flagged(1))

    assert not ended_early
    assert [len(channel.sent) for channel in desk.channels.values()] == [1, 1]


async def test_a_crash_between_sending_and_noting_sends_twice_and_no_more() -> None:
    desk = Desk("slack", "console")
    desk.outbox.outages = 2
    with pytest.raises(StreamUnavailable):
        await desk.work(_flagged(1))

    desk.restarted()
    await desk.work(_flagged(1))

    assert len(desk.channels["slack"].sent) == 2
    assert {alert.alert_id for alert in desk.channels["slack"].sent} == {desk.channels["slack"].sent[0].alert_id}


async def test_a_failing_channel_is_tried_again_later_and_does_not_hold_up_the_others() -> None:
    desk = Desk("slack", "console")
    desk.channels["slack"].failures.extend([_busy(), _busy()])

    handled = await desk.work(_flagged(1))
    await desk.until_over()

    assert 0.1 <= handled.retry[f"{NOW_MS}-1".encode()] <= 1.0
    assert desk.channels["console"].times_s == [0.0]
    assert desk.channels["slack"].tried == 3
    assert desk.outbox.alerts["txn_1"] == {"console": "delivered", "slack": "delivered"}


async def test_backoff_doubles_and_is_jittered_and_bounded() -> None:
    limits = LaneLimits(failures_to_open=1000, tries=1000, oldest_s=1e9)
    desk = Desk("webhook", limits={"webhook": limits})
    desk.channels["webhook"].always = _busy()
    waits = []

    await desk.work(_flagged(1))
    for _ in range(12):
        (due_ms, delivery) = desk.waiting.pop(f"{NOW_MS}-1".encode())
        waits.append((due_ms - desk.clock.ms) / 1000)
        desk.clock.ms = due_ms
        await desk.work(delivery)

    bounds = [min(60.0, 2.0**tries) for tries in range(12)]
    assert all(0.1 * bound <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    assert len(set(waits)) == 12


async def test_retry_after_pauses_that_channel_only_and_for_every_alert() -> None:
    desk = Desk("slack", "console")
    desk.channels["slack"].failures.append(_busy(retry_after_s=7.5))
    await desk.work(_flagged(1))

    await desk.work(_flagged(2), _flagged(3))

    assert desk.channels["slack"].tried == 1
    assert len(desk.channels["console"].sent) == 3
    await desk.until_over()
    assert len(desk.channels["slack"].sent) == 3
    assert min(desk.channels["slack"].times_s) >= 7.45
    assert ("slack", "throttled") in desk.counts.tries


async def test_after_a_pause_a_channel_is_not_met_by_a_burst() -> None:
    desk = Desk("slack")
    await desk.work(*map(_flagged, range(20)))
    desk.channels["slack"].failures.append(_busy(retry_after_s=30.0))

    await desk.until_over()

    after = sorted(time_s for time_s in desk.channels["slack"].times_s if time_s >= 29)
    assert all(later - earlier >= 0.9 for earlier, later in itertools.pairwise(after))
    assert len(desk.channels["slack"].sent) == 20


async def test_being_throttled_wears_no_alert_out() -> None:
    desk = Desk("slack")
    desk.channels["slack"].failures.extend([_busy(retry_after_s=1.5)] * 20)

    await desk.work(_flagged(1))
    await desk.until_over()

    assert len(desk.channels["slack"].sent) == 1
    assert desk.outbox.undeliverable == []


async def test_slack_gets_five_at_once_and_then_one_a_second_while_the_console_gets_all() -> None:
    desk = Desk("slack", "console")

    await desk.work(*map(_flagged, range(60)))
    await desk.until_over()

    assert desk.channels["console"].times_s == [0.0] * 60
    times_s = sorted(desk.channels["slack"].times_s)
    assert len(times_s) == 60
    for start_s in range(0, 60, 5):
        assert sum(start_s <= time_s < start_s + 5 for time_s in times_s) <= 10
    assert times_s[4] == 0.0
    assert 54 <= times_s[-1] <= 57
    assert desk.outbox.undeliverable == []


async def test_waiting_for_the_budget_costs_one_hand_out_each() -> None:
    desk = Desk("slack")

    await desk.work(*map(_flagged, range(50)))
    hand_outs = [delivery.deliveries for _, delivery in desk.waiting.values()]
    await desk.until_over()

    assert hand_outs == [2] * 45
    assert len(desk.channels["slack"].sent) == 50


async def test_a_refused_alert_is_undeliverable_at_once_and_the_letter_holds_all_of_it() -> None:
    desk = Desk("slack", "console")
    desk.channels["slack"].always = AlertFailed("slack", "200 channel_not_found for jane@example.com", permanent=True)

    handled = await desk.work(_flagged(1))

    assert handled.settled == [f"{NOW_MS}-1".encode()]
    (letter,) = desk.outbox.undeliverable
    assert letter["channel"] == "slack"
    assert letter["reason"] == "refused"
    assert letter["error"] == "200 channel_not_found for j***@example.com"
    assert letter["tries"] == "1"
    assert msgspec.json.decode(letter["alert"], type=Alert).transaction_id == "txn_1"
    assert ("slack", "undeliverable", 0.0) in desk.counts.ends


async def test_an_alert_is_undeliverable_after_too_many_tries() -> None:
    desk = Desk("slack", limits={"slack": LaneLimits(tries=3, failures_to_open=100)})
    desk.channels["slack"].always = _busy()

    await desk.work(_flagged(1))
    await desk.until_over()

    assert desk.channels["slack"].tried == 3
    assert [(letter["reason"], letter["tries"]) for letter in desk.outbox.undeliverable] == [("too_many_tries", "3")]


async def test_an_alert_is_undeliverable_when_it_has_failed_for_too_long() -> None:
    desk = Desk("slack", limits={"slack": LaneLimits(tries=1000, failures_to_open=1000, oldest_s=600)})
    desk.channels["slack"].always = _busy()

    await desk.work(_flagged(1))
    await desk.until_over()

    assert desk.outbox.undeliverable[0]["reason"] == "too_old"
    assert 600 <= (desk.clock.ms - NOW_MS) / 1000 <= 700


async def test_a_backlog_from_before_the_start_is_sent_and_not_called_too_old() -> None:
    desk = Desk("slack")
    desk.clock.forward(86_400)

    await desk.work(_flagged(1))

    assert len(desk.channels["slack"].sent) == 1


async def test_a_dead_channel_is_left_alone_and_one_alert_tries_for_all() -> None:
    desk = Desk("webhook", "console", limits={"webhook": LaneLimits(concurrent=1000)})
    desk.channels["webhook"].always = _busy()
    await desk.work(*map(_flagged, range(5)))

    await desk.work(*map(_flagged, range(5, 50)))
    tried_while_resting = desk.channels["webhook"].tried
    await desk.until_over(at_most_s=121)

    assert tried_while_resting == 5
    assert desk.channels["webhook"].tried - tried_while_resting <= 5
    assert len(desk.channels["console"].sent) == 50


async def test_of_many_that_come_back_at_once_only_one_tries_a_channel_that_rested() -> None:
    desk = Desk("webhook", limits={"webhook": LaneLimits(concurrent=1000)})
    desk.channels["webhook"].always = _busy()
    await desk.work(*map(_flagged, range(5)))
    desk.clock.forward(31)
    desk.channels["webhook"].held = asyncio.Event()

    working = asyncio.create_task(desk.work(*map(_flagged, range(5, 25))))
    await wait_until(lambda: desk.channels["webhook"].tried == 6, "the probe is on its way")
    desk.channels["webhook"].held.set()
    handled = await working

    assert desk.channels["webhook"].tried == 6
    assert len(handled.retry) == 20


async def test_what_waited_for_a_dead_channel_is_delivered_once_it_is_back() -> None:
    desk = Desk("slack", "console")
    desk.channels["slack"].always = _busy()
    await desk.work(*map(_flagged, range(40)))
    await desk.until_over(at_most_s=300)

    desk.channels["slack"].always = None
    await desk.until_over()

    assert len(desk.channels["slack"].sent) == 40
    assert len(desk.outbox.acknowledged) == 40
    assert desk.outbox.undeliverable == []


async def test_a_slow_channel_does_not_hold_up_other_channels_of_the_same_or_of_other_alerts() -> None:
    desk = Desk("email", "console", limits={"email": LaneLimits(concurrent=1, patience_s=0.0)})
    desk.channels["email"].held = asyncio.Event()
    slow = asyncio.create_task(desk.work(_flagged(1)))
    await wait_until(lambda: desk.channels["email"].tried == 1, "the mail is on its way")

    handled = await desk.work(_flagged(2), _flagged(3))

    assert len(desk.channels["console"].sent) == 3
    assert len(handled.retry) == 2
    assert not slow.done()
    desk.channels["email"].held.set()
    await slow
    await desk.until_over()
    assert len(desk.channels["email"].sent) == 3


async def test_a_fault_of_a_channel_ends_as_undeliverable_and_spares_the_others() -> None:
    desk = Desk("slack", "console", limits={"slack": LaneLimits(tries=2)})
    desk.channels["slack"].always = KeyError("card 4111111111111111")

    await desk.work(_flagged(1))
    await desk.until_over()

    assert len(desk.channels["console"].sent) == 1
    (letter,) = desk.outbox.undeliverable
    assert "KeyError" in letter["error"]
    assert "41111111" not in letter["error"]


async def test_a_cancelled_probe_does_not_leave_a_channel_resting_for_ever() -> None:
    desk = Desk("webhook", limits={"webhook": LaneLimits(concurrent=1000, failures_to_open=1)})
    channel = desk.channels["webhook"]
    channel.failures.append(_busy())
    await desk.work(_flagged(1))
    desk.clock.forward(31)
    channel.held = asyncio.Event()
    probe = asyncio.create_task(desk.work(_flagged(2)))
    await wait_until(lambda: channel.tried == 2, "the probe is on its way")

    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    channel.held = None
    await desk.work(_flagged(3))

    assert len(channel.sent) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({b"transaction_id": b"txn_1"}, "schema_invalid"),
        ({b"decision": b"{"}, "decode_error"),
        ({b"decision": b"\xff"}, "decode_error"),
        ({b"decision": b"{}"}, "decode_error"),
        ({b"decision": b"[" * 50_000}, "decode_error"),
    ],
)
async def test_what_holds_no_decision_leaves_a_letter_and_its_neighbours_are_told(
    fields: dict[bytes, bytes], reason: str
) -> None:
    desk = Desk("console")
    broken = Delivery(entry_id=b"1-1", fields={**fields, b"note": b"4111111111111111"})

    handled = await desk.work(broken, _flagged(2))

    (letter,) = handled.letters
    assert letter.reason == reason
    assert letter.fields[b"note"] == b"[PAN *1111]"
    assert handled.done == [b"1-1"]
    assert len(desk.channels["console"].sent) == 1


async def test_giving_up_settles_what_is_left_as_undeliverable() -> None:
    desk = Desk("slack", "console")
    desk.channels["slack"].failures.append(_busy())
    await desk.work(_flagged(1))

    handled = await desk.alerter.give_up(_flagged(1), "handed out 6 times without an end")

    assert handled.settled == [f"{NOW_MS}-1".encode()]
    assert desk.outbox.alerts["txn_1"] == {"console": "delivered", "slack": "undeliverable"}
    assert [(letter["reason"], letter["error"]) for letter in desk.outbox.undeliverable] == [("given_up", "busy")]


async def test_giving_up_what_holds_no_decision_leaves_a_letter() -> None:
    desk = Desk("console")

    handled = await desk.alerter.give_up(Delivery(entry_id=b"1-1", fields={}), "poison")

    assert [letter.reason for letter in handled.letters] == ["schema_invalid"]
    assert handled.done == [b"1-1"]


async def test_an_entry_that_another_worker_took_is_dropped() -> None:
    desk = Desk("slack", "console")
    desk.outbox.lost.add(f"{NOW_MS}-1".encode())
    desk.channels["slack"].failures.append(_busy())

    handled = await desk.work(_flagged(1))

    assert handled.settled == [f"{NOW_MS}-1".encode()]
    assert handled.retry == {}


async def test_nothing_is_remembered_of_alerts_that_are_over() -> None:
    desk = Desk("slack", "console")
    desk.channels["slack"].failures.append(_busy())

    await desk.work(*map(_flagged, range(20)))
    await desk.until_over()

    assert len(desk.alerter._errands) == 0


async def test_a_numeric_id_that_looks_like_a_phone_is_settled_under_its_own_name() -> None:
    desk = Desk("console")
    decision = a_decision(a_transaction(transaction_id="+33612345678"), outcome=Outcome.REVIEW)

    await desk.work(Delivery(entry_id=b"1-1", fields={b"decision": encode_decision(decision)}))

    assert list(desk.outbox.alerts) == ["+33612345678"]
    assert desk.channels["console"].sent[0].transaction_id == "+33***78"


async def test_a_moody_slack_gets_every_alert_and_at_most_one_double_per_drop() -> None:
    moods = random.Random(11)
    plan = ["429:0.5", "429:2", "500", "502", "drop", "internal_error", "page"]
    async with fake_slack() as slack:
        slack.next("chat.postMessage", *(moods.choice(plan) if moods.random() < 0.4 else "ok" for _ in range(200)))
        drops = slack.plan["chat.postMessage"].count("drop")
        desk = Desk(limits={"slack": LaneLimits(rate_per_s=1.0, burst=5, oldest_s=1e9)})
        channel = SlackAlertChannel("xoxb-test", "#fraud", base_url=slack.base_url, timeout_s=5.0)
        desk.restarted([channel])

        await desk.work(*map(_flagged, range(80)))
        await desk.until_over()
        await channel.close()

    posted = [message["metadata"]["event_payload"]["alert_id"] for message in slack.messages]
    assert len(set(posted)) == 80
    assert len(posted) - 80 <= drops
    assert drops > 0
    assert desk.outbox.undeliverable == []
    assert "jane@example.com" not in json.dumps(slack.messages)
