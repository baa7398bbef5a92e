"""
Random definitions and random histories, for the properties of the kernel.
"""

from dataclasses import dataclass

from hypothesis import strategies as st

from fraudstream.domain.transaction import Transaction
from fraudstream.features.syntax import Aggregate, references

#: A Sunday, shortly before midnight UTC: windows and weekdays change within any history.
START_S = 1_700_000_000 // 86_400 * 86_400 - 600
WINDOWS = ("1m", "2m", "10m", "1h", "24h", "7d")
TEXTS = ("card_id", "user_id", "device_id", "merchant", "country", "channel")

_numbers = st.sampled_from(["0", "1", "5", "100", "2.5", "1000000000000", "amount", "current.amount", "2 * current.amount"])
_words = st.sampled_from(['"a"', '"b"', '"BE"', '"US"', "current.country", "current.merchant"])
_comparisons = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
_past_atoms = st.one_of(
    st.builds("amount {} {}".format, _comparisons, _numbers),
    st.builds(
        "{} {} {}".format, st.sampled_from(["country", "channel", "merchant", "card_id"]), st.sampled_from(["=", "!="]), _words
    ),
    st.sampled_from(
        ['outcome != "block"', 'outcome = "approve"', 'outcome in ("review", "block")', 'label = "fraud"', 'label != "fraud"']
    ),
    st.sampled_from(
        ["hour(timestamp) <= 6", "weekday(timestamp) >= 5", "is_missing(country)", "minute(timestamp) between 10 and 40"]
    ),
)


def _joined(atoms):
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.builds("({} and {})".format, inner, inner),
            st.builds("({} or {})".format, inner, inner),
            st.builds("not ({})".format, inner),
        ),
        max_leaves=3,
    )


_functions = st.one_of(
    st.sampled_from(
        ["count()", "sum(amount)", "avg(amount)", "min(amount)", "max(amount)", "stddev(amount)", "median(amount)"]
    ),
    st.sampled_from(
        ["first_seen()", "last_seen()", "time_since_last()", "ratio_to_baseline(amount)", "rank(amount)", "speed_kmh()"]
    ),
    st.sampled_from(
        ["fraud_count()", "fraud_rate()", "last_label()", "time_since_fraud()", "clean_since_fraud()", "run_length()"]
    ),
    st.builds("distinct({})".format, st.sampled_from(TEXTS)),
    st.builds("is_new({})".format, st.sampled_from(TEXTS)),
)
_defaults = st.sampled_from(["", "", " default 0", " default nan", " default -1.5"])


@st.composite
def _on_log(draw, earlier=()):
    by = draw(
        st.sampled_from(["card_id", "card", "user_id", "device_id", "card_id, merchant", "user_id, merchant", "ip, user_id"])
    )
    over = draw(st.one_of(st.just(""), st.sampled_from(WINDOWS).map(" over {}".format)))
    tail = draw(st.sampled_from(["", " including current", " delayed 1m", " delayed 1h", " delayed 7d"]))
    newest = draw(st.sampled_from(["", "", "", " newest 1", " newest 3"]))
    atoms = _past_atoms
    if earlier:
        atoms = _past_atoms | st.builds(
            "amount {} {} * {}".format, _comparisons, st.sampled_from(["1", "2.5"]), st.sampled_from(earlier)
        )
    where = draw(st.one_of(st.just(""), st.just(""), _joined(atoms).map(" where {}".format)))
    return f"{draw(_functions)} by {by}{over}{tail}{newest}{where}{draw(_defaults)}"


@st.composite
def _on_ring(draw):
    function = draw(st.sampled_from(["count()", "sum(amount)", "avg(amount)", "fraud_count()", "fraud_rate()"]))
    over = draw(st.sampled_from(["1m", "2m", "5m", "6m", "1h", "3h"]))
    tail = draw(
        st.sampled_from(["", "", " including current", " delayed 1m" if over in ("1m", "2m", "5m", "6m") else " delayed 2h"])
    )
    return f"{function} by merchant over {over}{tail}{draw(_defaults)}"


@st.composite
def _expression(draw, earlier):
    numbers = st.sampled_from(["amount", "1", "0", "0.5", "latitude", "hour(timestamp)", "balance_before", *earlier])
    terms = st.one_of(
        numbers,
        st.builds("({} {} {})".format, numbers, st.sampled_from("+-*/"), numbers),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max", "coalesce"]), numbers, numbers),
        st.builds("abs(-{})".format, numbers),
    )
    truths = _joined(
        st.one_of(
            st.builds("{} {} {}".format, terms, _comparisons, terms),
            st.builds("country {} {}".format, st.sampled_from(["=", "!="]), st.sampled_from(['"BE"', "merchant"])),
            st.builds("is_missing({})".format, st.sampled_from(["country", "latitude", *earlier])),
        )
    )
    return draw(st.one_of(terms, truths)) + draw(_defaults)


@st.composite
def definitions(draw, *, keep=None, ring=(8, 6)):
    """The text of a definitions file of one to eight features over logs, rings, pairs and each other."""
    keep = draw(st.integers(4, 12)) if keep is None else keep
    lines = [
        f"keep {keep} records",
        "entity card log",
        "entity user log",
        "entity device log",
        "entity place by ip, user_id log",
        f"entity merchant buckets 1m x {ring[0]}, 1h x {ring[1]}",
    ]
    bodies = draw(st.lists(st.one_of(_on_log(), _on_log(), _on_ring()), min_size=1, max_size=6))
    lines += [f"feature f{number} = {body}" for number, body in enumerate(bodies)]
    # Truths of the language take part in comparisons only by themselves.
    plain = [f"f{number}" for number, body in enumerate(bodies) if not body.startswith(("is_new", "last_label"))]
    lines += [f"feature e{number} = {draw(_expression(plain))}" for number in range(draw(st.integers(0, 2)))]
    lines += [f"feature r{number} = {draw(_on_log(plain))}" for number in range(draw(st.integers(0, 2)))]
    return "\n".join(lines)


_steps = st.one_of(
    st.sampled_from([0, 0, 1, 59, 60, 61, 120, 599, 600, 3_600, 86_400]),
    st.sampled_from([-1, -60, -61, -3_600]),
    st.integers(0, 40),
)
_maybe = st.sampled_from
_ids = ("a", "a", "a", "b", "b", "c", None)


@st.composite
def transactions(draw, *, most=40, steps=_steps):
    """A history in order of arrival: late and simultaneous events, ids that come again, entities that are missing."""
    at, found = START_S, []
    for number in range(draw(st.integers(1, most))):
        at += draw(steps)
        if found and draw(st.integers(0, 9)) == 0:
            found.append(draw(st.sampled_from(found)))
            continue
        found.append(a_transaction(draw, f"t{number}", at))
    return found


def a_transaction(draw, name, at):
    """One transaction at a second, of few entities and few amounts."""
    return Transaction(
        transaction_id=name,
        amount_minor=draw(_maybe([0, 1, 1, 2, 5, 100, 999, 10**12])),
        currency="EUR",
        occurred_at_ms=at * 1_000 + draw(_maybe([0, 999])),
        user_id=draw(_maybe(_ids)),
        card_id=draw(_maybe(_ids)),
        device_id=draw(_maybe(_ids)),
        merchant=draw(_maybe(_ids)),
        ip=draw(_maybe(("1", "1:1", None))),
        country=draw(_maybe(("BE", "US", None))),
        channel=draw(_maybe(("a", "b", None))),
        latitude=draw(_maybe((0.0, 50.8, -90.0, 90.0, None))),
        longitude=draw(_maybe((0.0, 4.3, -180.0, 180.0, None))),
        balance_before_minor=draw(_maybe((None, 0, 500))),
    )


@dataclass(frozen=True)
class Call:
    """One call of a worker: a batch, and what became known of earlier transactions before it."""

    batch: list
    outcomes: list
    labels: list


@st.composite
def calls(draw, history):
    """A history cut into batches of random sizes, with outcomes and labels of earlier transactions between them."""
    found, start = [], 0
    while start < len(history):
        size = draw(st.integers(1, 12))
        known = history[:start]
        outcomes = [(one, draw(st.integers(0, 3))) for one in known if draw(st.integers(0, 7)) == 0]
        labels = [(one, draw(st.booleans())) for one in known if draw(st.integers(0, 5)) == 0]
        found.append(Call(history[start : start + size], outcomes, labels))
        start += size
    return found


def log_columns(features):
    """The columns that look at logs only, themselves and through the features that they name."""
    bodies = {feature.name: feature.body for feature in features.features}

    def on_logs(name):
        body = bodies[name]
        on_bucket = isinstance(body, Aggregate) and body.resolution is not None
        return not on_bucket and all(on_logs(node.name) for node in references(body))

    return [features.names.index(name) for name, body in bodies.items() if isinstance(body, Aggregate) and on_logs(name)]
