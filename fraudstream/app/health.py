"""
What an overview means. Nothing here asks anybody.
"""

from collections import Counter
from collections.abc import Iterator

from fraudstream.app.findings import Finding, Level, Limits, count_of, duration
from fraudstream.app.health_server import judge_server
from fraudstream.fleet.overview import GroupState, Letters, Overview

#: What is missing while nobody serves a group.
_WITHOUT = {
    "fraud-check": "payments are decided without the rules and marked degraded, or not at all",
    "ml-scoring": "payments are decided without the model and marked degraded, or not at all",
    "recorder": "decisions are made and wait to be stored",
    "alerter": "nobody is told about fraud",
    "labels": "labels wait to be stored",
}
#: What stands behind a dead letter most of the time, by its reason.
_CAUSES = {
    "decode_error": "a producer writes what is no JSON object",
    "schema_invalid": "a producer leaves out or garbles a field",
    "card_number": "a producer writes clear card numbers; it must send tokens",
    "too_large": "a producer writes bodies over the limit",
    "max_retries": "entries failed every time; the log of the group's workers says entry_given_up with the error",
    "sink_rejected": "the database refused values; the letter says which",
    "model_error": "the model failed; the log of the ml-scoring workers has the error",
    "trimmed": "entries were deleted before their group had read them",
}
#: What to look at when entries of a group fail again and again.
_SUSPECTS = {
    "fraud-check": "the log of its workers has the error",
    "ml-scoring": "the log of its workers has the error",
    "recorder": "is the database up?",
    "alerter": "does the channel answer?",
    "labels": "is the database up?",
}


def _about(group: GroupState) -> str:
    """
    Name a group, and the partition where there are several.
    """
    tag = group.stream.rpartition(":")[2]
    return f"group {group.group} {tag}" if tag.startswith("{") else f"group {group.group}"


def _folded(findings: list[Finding]) -> Iterator[Finding]:
    """
    Say of the partitions of a group that are well only how many they are, and whether anybody is there.
    """
    fine = Counter(map(_sort, findings))
    for one in findings:
        group, unserved = _sort(one)
        if not group:
            yield one
        elif count := fine.pop((group, unserved), 0):
            says = "no worker, and nothing to do" if unserved else "served, none with much to do"
            yield Finding(level=Level.OK, about=group, says=f"{count_of(count, 'partition')}: {says}")


def _sort(finding: Finding) -> tuple[str, bool]:
    """
    Return the group that a finding of one well partition is about, and whether nobody serves it; else an empty name.
    """
    group = finding.about.rpartition(" {")[0] if finding.level is Level.OK and finding.about.endswith("}") else ""
    return group, finding.says.startswith("no worker")


def judge(overview: Overview, limits: Limits) -> list[Finding]:
    """
    Return what there is to say of everything in an overview, also where all is well.
    """
    groups = _folded([finding for group in overview.groups for finding in _group(group, limits)])
    letters = [_dead_letters(overview.dead_letters), _undeliverable(overview.undeliverable)]
    complaints = [finding for group in overview.groups for finding in _complaints(group)]
    return [*judge_server(overview.server, limits), *groups, *complaints, *letters]


def judge_change(before: Overview, after: Overview, limits: Limits) -> list[Finding]:
    """
    Return which groups fall behind or stand still between two looks.
    """
    seconds = max(0.001, (after.at_ms - before.at_ms) / 1000)
    earlier = {(group.stream, group.group): group for group in before.groups}
    pairs = [(earlier.get((group.stream, group.group)), group) for group in after.groups if group.known and group.workers]
    found = (_change(first, then, seconds, limits) for first, then in pairs if first is not None)
    return [finding for finding in found if finding is not None]


def _change(first: GroupState, then: GroupState, seconds: float, limits: Limits) -> Finding | None:
    about, growth = _about(then), (then.lag_entries or 0) - (first.lag_entries or 0)
    if first.lag_entries and then.lag_entries and first.last_delivered_id == then.last_delivered_id:
        says = f"{count_of(then.lag_entries, 'entry')} to read and not one was read in {seconds:.1f} s by {_workers(then)}"
        return Finding(
            level=Level.FAIL, about=about, says=says, command=f"look at their logs; restart one: {_start(then.group)}"
        )
    if growth > 0 and (then.lag_entries or 0) > limits.growing_entries:
        says = f"lag grows by {growth / seconds:,.0f} entries/s, to {then.lag_entries:,}: {_workers(then)} cannot keep up"
        return Finding(level=Level.WARN, about=about, says=says, command=f"{_start(then.group)}   # one more")
    return None


def _group(group: GroupState, limits: Limits) -> Iterator[Finding]:
    if not group.known:
        says = f"reads {group.stream} and is none of ours; entries are dropped without waiting for it"
        yield Finding(level=Level.OK, about=_about(group), says=says)
        return
    if not group.workers:
        yield _unserved(group, limits)
        return
    idle = f", {len(group.gone)} gone that hold nothing" if group.gone else ""
    fine = Finding(level=Level.OK, about=_about(group), says=f"{_workers(group)}, {_backlog(group)}{idle}")
    yield from list(_waiting(group, limits)) or [fine]


def _unserved(group: GroupState, limits: Limits) -> Finding:
    """
    Judge a group without a worker: how bad depends on whether it must be served, and on what waits.
    """
    about = _about(group)
    if group.group not in limits.groups and not (group.lag_entries or group.pending_entries):
        return Finding(level=Level.OK, about=about, says="no worker, and nothing to do")
    level = Level.FAIL if group.group in limits.groups else Level.WARN
    says = f"no worker serves {group.group}: {_WITHOUT[group.group]}; {_backlog(group)}"
    served = [one for one in group.gone if not one.stepping_in]
    if served:
        last, held = served[0], sum(one.pending for one in group.gone)
        says += f"; {last.name} was last and gave no sign of life for {duration(last.quiet_s)}"
        says += f"; those gone hold {held:,} of them" if held else ""
    return Finding(level=level, about=about, says=says, command=_start(group.group))


def _waiting(group: GroupState, limits: Limits) -> Iterator[Finding]:
    """
    Judge what a group with workers has not done yet.
    """
    about = _about(group)
    if group.lag_entries is None:
        says = "its lag is unknown: entries were deleted ahead of it, and too many are left to count"
        yield Finding(level=Level.WARN, about=about, says=says, command=f"redis-cli XINFO STREAM {group.stream}")
    if group.oldest_unread_age_s > limits.unread_s:
        says = (
            f"{_backlog(group)}, the oldest unread for {duration(group.oldest_unread_age_s)}: {_workers(group)} cannot keep up"
        )
        yield Finding(level=Level.FAIL, about=about, says=says, command=f"fraudstream lag --watch; {_start(group.group)}")
    oldest, held = group.oldest_pending, sum(one.pending for one in group.gone)
    if oldest is not None and group.oldest_pending_age_s > limits.pending_s:
        owner = "waits for its next try" if oldest.consumer.startswith("__") else f"is held by {oldest.consumer}"
        says = f"{_backlog(group)}, the oldest for {duration(oldest.age_s)}; it {owner}, try {oldest.deliveries}"
        says += f"; {_SUSPECTS[group.group]}"
        yield Finding(level=Level.FAIL, about=about, says=says, command=f"fraudstream pending --group {group.group}")
    elif held:
        says = (
            f"{count_of(held, 'entry')} held by {count_of(len(group.gone), 'worker')} that are gone; the others take them over"
        )
        yield Finding(level=Level.WARN, about=about, says=says, command=f"fraudstream pending --group {group.group}")
    elif group.retrying_entries:
        says = f"{count_of(group.retrying_entries, 'entry')} failed and will be tried again: {_SUSPECTS[group.group]}"
        yield Finding(level=Level.WARN, about=about, says=says, command=f"fraudstream pending --group {group.group}")


#: What is to be thought of a complaint: how bad it is, what it means, and what to type.
_COMPLAINTS = {
    "model": (Level.FAIL, "the model failed on {}: payments are decided without it", "fraudstream model rollback --reason …"),
    "canary": (
        Level.WARN,
        "the canary failed on {}: the champion decided instead",
        "fraudstream model canary --off --reason …",
    ),
    "rules": (Level.FAIL, "the rules failed on {}", "fraudstream rules rollback --reason …"),
    "writes": (Level.WARN, "{} to the database took longer than a second", "fraudstream lag --group recorder --watch"),
    "work": (Level.WARN, "work was put off for {}", "fraudstream doctor"),
}
_COUNTED = {"model": "transaction", "canary": "transaction", "rules": "row", "writes": "write", "work": "entry"}
#: From how many tries in half a minute on a channel counts as away.
_AWAY_TRIES = 3


def _complaints(group: GroupState) -> Iterator[Finding]:
    """
    Judge what the workers of a group met lately, each kind once for all of them.
    """
    kinds = dict.fromkeys(one.about for one in group.complaints)
    for kind in kinds:
        told = [one for one in group.complaints if one.about == kind]
        times = sum(one.times for one in told)
        if kind in _COMPLAINTS:
            level, words, command = _COMPLAINTS[kind]
            says = words.format(count_of(times, _COUNTED[kind]))
            about = kind if level is Level.FAIL else _about(group)
        else:
            level, about = Level.FAIL if times >= _AWAY_TRIES else Level.WARN, "alerts"
            says, command = (
                f"{count_of(times, 'try')} failed: people do not hear of fraud on {kind}",
                "fraudstream doctor --slack",
            )
        yield Finding(level=level, about=about, says=f"{says}, within half a minute; {told[-1].says}", command=command)


def _dead_letters(letters: Letters) -> Finding:
    if not letters.entries:
        return Finding(level=Level.OK, about="dead letters", says="none")
    causes = [f"{reason}: {_CAUSES[reason]}" for reason in letters.counts if reason in _CAUSES]
    return Finding(
        level=Level.WARN,
        about="dead letters",
        says="; ".join([f"{count_of(letters.entries, 'dead letter')} ({_told_apart(letters)})", *causes]),
        command="fraudstream dlq stats; fraudstream dlq list",
    )


def _undeliverable(letters: Letters) -> Finding:
    if not letters.entries:
        return Finding(level=Level.OK, about="alerts", says="none undeliverable")
    says = f"{count_of(letters.entries, 'alert')} reached nobody ({_told_apart(letters)}): look at the channel's account"
    command = "fraudstream alerts undeliverable list; fraudstream doctor --slack"
    return Finding(level=Level.WARN, about="alerts", says=says, command=command)


def _told_apart(letters: Letters) -> str:
    parts = [f"{name} {count:,}" for name, count in letters.counts.items()]
    newest = [f"of the newest {letters.counted:,}"] if letters.counted < letters.entries else []
    return ", ".join([*parts, *newest, f"the oldest {duration(letters.oldest_age_s)} ago"])


def _backlog(group: GroupState) -> str:
    lag = "an unknown number" if group.lag_entries is None else f"{group.lag_entries:,}"
    return f"{lag} to read, {group.pending_entries:,} in work"


def _workers(group: GroupState) -> str:
    return count_of(len(group.workers), "worker")


def _start(group: str) -> str:
    return "fraudstream alerter start" if group == "alerter" else f"fraudstream worker start --group {group}"
