"""
The language: what it accepts, what it refuses and how, and what its shipped files declare.
"""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from fraudstream.domain.errors import InvalidFeatures
from fraudstream.domain.transaction import Transaction
from fraudstream.features.catalogue import AGGREGATES
from fraudstream.features.kernel import records
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.replay import replay
from fraudstream.features.syntax import canonical

ROOT = Path(__file__).parents[3]
CARD = "entity card log\n"
RING = "entity merchant buckets 1m x 64, 1h x 50\n"
SHIPPED = sorted((ROOT / "models").glob("*.features"))


def _problems(source):
    with pytest.raises(InvalidFeatures) as refused:
        load_features(source, name="f")
    return str(refused.value)


@pytest.mark.parametrize(
    ("source", "line", "what", "remedy"),
    [
        (CARD + "feature a = count() by crad_id over 1h", 2, "unknown field 'crad_id'", "did you mean 'card_id'?"),
        (CARD + "feature a = count() by card_id over 0m", 2, "a window of 0 seconds", "from 1m to 90d"),
        (CARD + "feature a = count() by card_id over 91d", 2, "a window of 7862400 seconds", "from 1m to 90d"),
        (CARD + "feature a = amount\nfeature a = 2 * amount", 3, "defined twice", "rename"),
        (CARD + "feature a = count() by card_id where amount > a", 2, "is defined by itself", "circle"),
        (CARD + "feature a = count() by card_id newest 0", 2, "the newest 0 events", "whole number from 1"),
        (RING + "feature a = count() by merchant over 1h newest 2", 2, "which transactions are the newest", "as a log"),
        ("feature a = b + 1\nfeature b = a + 1", 2, "is defined by itself", "circle"),
        ("feature a = a + 1", 1, "is defined by itself", "circle"),
        ("version 2\nfeature a = amount", 1, "version 2", "version 1"),
        ("feature a = amout", 1, "unknown field or feature 'amout'", "did you mean 'amount'?"),
        ("feature a = country", 1, "a feature is a number, and this is a text", "compare it"),
        ("feature a = country > 3", 1, "this is a text where a number is needed", "number"),
        ('feature a = amount = "x"', 1, "a number is compared with a text", "one type"),
        ("feature a = amount and night", 1, "this is a number where a truth is needed", "compare"),
        ("feature a = outcome", 1, "known of past transactions only", "'where'"),
        ("feature a = current.amount", 1, "is for conditions on past", "write: amount"),
        ("feature a = 1 == 2", 1, "'==' is not a comparison", "write ="),
        ("feature a = hour(amount)", 1, "a number where a time is needed", "timestamp"),
        ("feature a = hours(timestamp)", 1, "unknown function 'hours'", "did you mean 'hour'?"),
        ("feature a = coalesce(amount)", 1, "takes 2 argument(s)", "it got 1"),
        ("feature a = (amount", 1, "expected ')', found the end of the file", "close"),
        ("feature a = " + "(" * 30 + "1" + ")" * 30, 1, "nests deeper than 24", "split"),
        ("feature a = amount over 1h", 1, "'over' belongs to an aggregate", "feature of its own"),
        ("feature a = amount $ 2", 1, "unexpected character '$'", "remove"),
        ('feature a = country = "BE', 1, "not closed", 'end it with "'),
        ("feature amount = 3", 1, "is a field of the transaction", "another name"),
        ("feature Big = 3", 1, "'Big' is no name", "small letters"),
        ("nonsense", 1, "expected a statement", "entity"),
        ("", 1, "no feature is defined", "write"),
        (CARD + "feature a = count()", 2, "does not say of which entity", "by card_id"),
        (CARD + "feature a = count() by device_id", 2, "nothing keeps the past of device_id", "entity device log"),
        (CARD + "feature a = count() by amount", 2, "unknown field 'amount' after 'by'", "there are"),
        (CARD + "feature a = sum(country) by card_id", 2, "'sum' looks at amounts only", "sum(amount)"),
        (CARD + "feature a = count(amount) by card_id", 2, "takes nothing in its brackets", "count()"),
        (CARD + "feature a = distinct(amount) by card_id", 2, "cannot look at 'amount'", "there are"),
        (CARD + "feature a = distinct() by card_id", 2, "cannot look at ''", "there are"),
        (CARD + "feature a = count() by card_id over 1h over 2h", 2, "'over' stands here twice", "keep one"),
        (CARD + "feature a = count() by card_id where amount", 2, "a condition is true or false", "compare"),
        (CARD + "feature a = count() by card_id where latitude > 1", 2, "do not keep 'latitude'", "amount"),
        (CARD + 'feature a = count() by card_id where outcome = "blocked"', 2, "'outcome' is never this", "block"),
        (CARD + "feature a = count() by card_id delayed 1h including current", 2, "never inside a delayed window", "remove"),
        (CARD + "feature a = count() by card_id delayed 91d", 2, "a delay of", "90d"),
        (CARD + "entity card log\nfeature a = amount", 2, "declared twice", "keep one"),
        ("entity shop log\nfeature a = amount", 1, "does not say which field names it", "by FIELD log"),
        ("entity shop by amount log\nfeature a = amount", 1, "'amount' cannot name an entity", "there are"),
        ("entity card\nfeature a = amount", 2, "expected 'log' or 'buckets'", "how the entity's past is kept"),
        ("entity card buckets 0m x 5\nfeature a = amount", 1, "cannot be kept", "2 to 1000"),
        (RING + "entity card buckets 5m x 9\nfeature a = amount", 2, "share one layout", "same widths"),
        (
            RING + "feature a = distinct(card_id) by merchant over 1h",
            2,
            "buckets cannot answer 'distinct'",
            "entity merchant log",
        ),
        (RING + "feature a = min(amount) by merchant over 1h", 2, "buckets cannot answer 'min'", "entity merchant log"),
        (RING + "feature a = stddev(amount) by merchant over 1h", 2, "buckets cannot answer 'stddev'", "entity merchant log"),
        (RING + "feature a = count() by merchant over 1h where amount > 1", 2, "'where' has no answer", "entity merchant log"),
        (RING + "feature a = count() by merchant", 2, "buckets need a window", "over 1h"),
        (RING + "feature a = count() by merchant over 7d", 2, "do not hold this window", "multiples of 60 s up to 3780 s"),
        (RING + "feature a = count() by merchant over 90s", 2, "do not hold this window", "change one"),
        ("keep 3 records\nfeature a = amount", 1, "cannot keep 3 records", "4 to 4096"),
    ],
)
def test_bad_definitions_are_refused_with_line_caret_and_remedy(source, line, what, remedy):
    text = _problems(source)

    assert re.search(rf"^f:{line}:\d+: .*{re.escape(what)}", text, re.MULTILINE), text
    assert "^" in text
    assert remedy in text


def test_all_problems_of_a_file_are_named_at_once_in_its_order():
    text = _problems(CARD + "feature a = count() by crad over 1h\nfeature b = 1 ==\nfeature c = hours(timestamp) + amout\n")

    assert re.findall(r"^f:(\d+):", text, re.MULTILINE) == ["2", "3", "4", "4"]


def test_caret_stands_under_the_word_that_is_wrong():
    _, _, line, caret, _ = _problems("feature a = 2 * amout").splitlines()

    assert line[caret.index("^") : caret.rindex("^") + 1] == "amout"


def test_a_tab_does_not_move_the_caret():
    _, _, line, caret, _ = _problems("feature a =\t2 * amout").splitlines()

    assert line[caret.index("^") : caret.rindex("^") + 1] == "amout"


def test_too_long_a_file_is_refused():
    assert "more than" in _problems("#" * (256 * 1024 + 1))


def test_too_many_features_are_refused():
    assert "more than 512 features" in _problems("\n".join(f"feature f{number} = amount" for number in range(513)))


def test_too_many_different_windows_of_one_entity_are_refused():
    lines = [f"feature f{number} = count() by card_id over {number + 1}m" for number in range(201)]

    assert "different windows" in _problems(CARD + "\n".join(lines))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_feature_has_a_unit_a_sentence_and_a_source(path):
    features = load_features(path.read_text(), name=path.name)

    assert len(features.features) >= 15
    assert all(feature.unit and feature.description.endswith(".") for feature in features.features)
    assert all(feature.source.startswith(f"feature {feature.name} = ") for feature in features.features)


def test_default_file_covers_card_user_device_and_merchant():
    features = load_features((ROOT / "models/default.features").read_text())

    assert (features.logs, features.rings) == (("card", "user", "device"), ("merchant",))
    assert {name.split("_")[0] for name in features.names} >= {"card", "user", "device", "merchant", "amount", "night"}


def test_every_example_of_the_guide_loads():
    examples = re.findall(r"```features\n(.*?)```", (ROOT / "docs/features.md").read_text(), re.DOTALL)

    assert len(examples) >= 4
    for example in examples:
        assert load_features(example).features


def test_the_guide_describes_every_aggregate_with_its_default():
    guide = (ROOT / "docs/features.md").read_text()
    rows = [line for line in guide.splitlines() if line.startswith("| `")]

    for name, kind in AGGREGATES.items():
        row = next(row for row in rows if f"`{name}(" in row)
        assert row.rstrip(" |").endswith("nan" if math.isnan(kind.default) else f"{kind.default:g}")
        assert f" {kind.unit} |" in row


def test_the_guide_shows_the_problem_as_it_is():
    guide = (ROOT / "docs/features.md").read_text()
    shown = re.search(r"```\n(default.features:4:.*?)\n```", guide, re.DOTALL)

    with pytest.raises(InvalidFeatures) as refused:
        load_features("entity card log\n\n\nfeature card_count_1h = count() by crad_id over 1h", name="default.features")

    assert shown is not None
    assert str(refused.value).split("\n", 1)[1] == shown[1]


@pytest.mark.parametrize(
    "change",
    [
        ("over 1h", "over 2h"),
        ("keep 8", "keep 9"),
        ("default 0", "default 1"),
        ("entity user log", "entity user log entity ip log"),
        ("< 500", "<= 500"),
        ('"BE"', '"NL"'),
        ("1m x 64", "1m x 65"),
        ("feature a", "feature z"),
        ("delayed 7d", "delayed 8d"),
    ],
)
def test_the_id_changes_with_whatever_changes_a_value(change):
    source = """keep 8 records entity card log entity user log entity merchant buckets 1m x 64
feature a = count() by card_id over 1h default 0
feature b = sum(amount) by card_id over 24h delayed 7d where amount < 500 and country = "BE"
feature c = count() by merchant over 10m"""
    assert change[0] in source

    before, after = load_features(source), load_features(source.replace(*change, 1))

    assert before.id != after.id
    assert re.fullmatch(r"[0-9a-f]{16}", before.id)


def test_the_id_does_not_change_with_layout_comments_units_and_sentences():
    plain = load_features(CARD + "feature a = count() by card_id over 1h")
    dressed = load_features('# why\nentity card  log\n\nfeature a = count()\n by card over 60m unit "x" about "y"')

    assert plain.id == dressed.id


def test_the_id_of_the_shipped_features_is_the_one_that_models_were_trained_with():
    shipped = Path(__file__).parents[3] / "models"

    features = load_features((shipped / "default.features").read_text(encoding="utf-8"))

    assert features.id == json.loads((shipped / "fraud.json").read_text(encoding="utf-8"))["feature_set"]


def test_the_records_of_a_kind_keep_only_what_its_own_features_look_at():
    features = load_features(
        "entity card log entity user log feature a = is_new(country) by card_id feature b = count() by user_id"
    )

    assert (features.layouts["card"].words, features.layouts["user"].words) == (("country",), ())
    assert (features.layouts["card"].size, features.layouts["user"].size) == (17, 13)


def test_a_feature_of_fields_already_kept_leaves_the_record_layout_alone():
    one = load_features(CARD + "feature a = distinct(country) by card_id over 1h")
    more = load_features(CARD + "feature a = distinct(country) by card_id over 1h feature b = is_new(country) by card_id")
    other = load_features(CARD + "feature a = distinct(country) by card_id over 1h feature b = is_new(channel) by card_id")

    assert one.layouts["card"].id == more.layouts["card"].id != other.layouts["card"].id
    assert (one.layouts["card"].size, other.layouts["card"].size) == (17, 21)


def test_states_outlive_the_longest_window_and_its_delay_by_a_day_and_the_skew():
    features = load_features(CARD + "feature a = count() by card_id over 7d feature b = count() by card_id over 1h delayed 30d")

    assert features.state_ttl_s == 30 * 86_400 + 3_600 + 86_400 + 300


def test_flags_are_needed_only_where_a_feature_reads_them():
    plain = load_features(CARD + "feature a = count() by card_id")
    outcome = load_features(CARD + 'feature a = count() by card_id where outcome = "block"')
    labels = load_features(CARD + "feature a = fraud_count() by card_id")

    assert (plain.reads_outcome, plain.reads_labels) == (False, False)
    assert (outcome.reads_outcome, outcome.reads_labels) == (True, False)
    assert (labels.reads_outcome, labels.reads_labels) == (False, True)


def test_the_finest_buckets_that_hold_a_window_answer_it():
    features = load_features(RING + "feature a = count() by merchant over 1h feature b = count() by merchant over 2h")

    assert [feature.body.resolution for feature in features.features] == [0, 1]
    assert features.ring_resolutions == ((60_000, 0, 64), (3_600_000, 64 * 20, 50))


def _values(source, amounts, *, fraud=()):
    features = load_features("entity card log\n" + source)
    store = MemoryEntityStore(features)
    found = []
    for second, amount in enumerate(amounts):
        at_ms = 1_000 * second
        one = Transaction(transaction_id=f"t{second}", amount_minor=amount, currency="EUR", occurred_at_ms=at_ms, card_id="c")
        found.extend(replay(features, [[one]], store=store))
        store.set_labels(records(features, [one]), [second in fraud])
    return np.concatenate(found)


def test_condition_holds_past_amounts_against_a_feature_of_the_present():
    found = _values(
        "feature large = count() by card_id where amount > 2 * centre feature centre = median(amount) by card_id",
        [10, 30, 10, 100, 10, 10],
    )

    # The centre is taken anew for each transaction: 10, 20, 10, 20, 10 of the events before it.
    assert found[1:, 1].tolist() == [10.0, 20.0, 10.0, 20.0, 10.0]
    assert found[:, 0].tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 2.0]


def test_newest_keeps_the_last_events_that_the_condition_lets_through():
    found = _values(
        "feature rate = fraud_rate() by card_id newest 2 feature top = max(amount) by card_id newest 2 where amount < 50",
        [10, 99, 30, 20, 5, 1],
        fraud=(1, 2),
    )

    assert found[1:, 0].tolist() == [0.0, 0.5, 1.0, 0.5, 0.0]
    assert found[1:, 1].tolist() == [10.0, 10.0, 30.0, 30.0, 20.0]


def test_definitions_without_the_newer_words_keep_their_id():
    plain = load_features("entity card log feature a = count() by card_id over 1h where amount > 5")
    newest = load_features("entity card log feature a = count() by card_id over 1h newest 2 where amount > 5")

    assert "newest" not in canonical(plain.features[0].body)
    assert plain.id != newest.id
