import pytest

from fraudstream.domain.errors import InvalidRule
from fraudstream.rules.edit import asleep_until, in_shadow, out_of_shadow, source_of
from fraudstream.rules.load import load_rules

SOURCE = """# first
rule small
  block if :amount: < 5   # a comment
  test hit  { amount: 1 }

rule timed
  review if :amount: > 5 active from 2026-01-01 until 2026-02-01 reason "active from here"
score +5 if :amount: > 100
"""
#: 2026-01-10T12:00:00.500Z
NOON_MS = 1_768_046_400_500


def rule(source, rule_id):
    (found,) = [one for one in load_rules(source, features=()).rules if one.rule_id == rule_id]
    return found


def test_one_rule_is_cut_out_as_it_is_written():
    assert source_of(SOURCE, "small") == "rule small\n  block if :amount: < 5   # a comment\n  test hit  { amount: 1 }"


@pytest.mark.parametrize("rule_id", [one.rule_id for one in load_rules(SOURCE, features=()).rules])
def test_a_rule_in_shadow_keeps_its_name_and_condition(rule_id):
    changed = in_shadow(SOURCE, rule_id)

    assert rule(changed, rule_id).shadow
    assert rule(changed, rule_id).text == rule(SOURCE, rule_id).text
    assert rule(changed, rule_id).points == rule(SOURCE, rule_id).points
    assert sum(one.shadow for one in load_rules(changed, features=()).rules) == 1
    assert in_shadow(changed, rule_id) == changed


def test_a_rule_sleeps_until_the_next_whole_second():
    changed = asleep_until(SOURCE, "small", NOON_MS)

    assert rule(changed, "small").active_from_ms == 1_768_046_401_000
    assert rule(changed, "small").active_until_ms is None
    assert rule(changed, "timed") == rule(SOURCE, "timed") or rule(changed, "timed").text == rule(SOURCE, "timed").text


def test_a_rule_that_is_limited_in_time_keeps_its_end_and_never_begins_earlier():
    later, earlier = asleep_until(SOURCE, "timed", NOON_MS), asleep_until(SOURCE, "timed", 0)

    assert rule(later, "timed").active_from_ms == 1_768_046_401_000
    assert rule(later, "timed").active_until_ms == rule(SOURCE, "timed").active_until_ms
    assert rule(earlier, "timed").active_from_ms == rule(SOURCE, "timed").active_from_ms
    assert rule(later, "timed").reason == "active from here"


def test_a_rule_that_would_end_before_it_begins_goes_to_shadow():
    changed = asleep_until(SOURCE, "timed", NOON_MS + 90 * 86_400_000)

    assert rule(changed, "timed").shadow


def test_an_unknown_rule_is_answered_with_the_nearest():
    with pytest.raises(InvalidRule, match="did you mean small"):
        in_shadow(SOURCE, "smal")


def test_a_rule_leaves_shadow_by_one_word_and_the_rest_stays():
    source = "# first\nrule a block if :amount: > 1\nshadow rule b\n  review if :amount: > 2 # why\n"

    assert out_of_shadow(source, "b") == "# first\nrule a block if :amount: > 1\nrule b\n  review if :amount: > 2 # why\n"
    assert out_of_shadow(source, "a") == source
    assert out_of_shadow(in_shadow(source, "a"), "a") == source
