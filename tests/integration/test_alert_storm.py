"""
A storm over real processes, a part of the size; ``benchmarks/alert_storm.py`` runs it whole.
"""

from tests.support.alert_storm import Storm, StormPlan


async def test_a_storm_over_two_alerters_of_which_one_is_killed_loses_nothing_and_floods_nobody() -> None:
    few_alone = {"FRAUDSTREAM_ALERT_STORM_AMOUNT_MAJOR": "100000"}
    plan = StormPlan(transactions=700, over_s=2.0, entities=500, kills=1, postgres="down", swift=True, settings=few_alone)

    report = await Storm(plan).run()

    assert (report.lost, report.astray, report.undeliverable) == (0, 0, 0)
    assert report.groups > 350
    assert report.posts + report.digests + report.replies <= 120, "a busy machine takes longer, and may tell more"
    assert report.digests <= 3
    assert report.doubles <= report.drops + 4 * report.kills, "a killed one may have four messages under way"
    assert report.refused_by_limits == 0
    assert report.delay_s["p99"] < 120


async def test_below_a_storm_every_alert_is_told_within_seconds_and_is_on_record() -> None:
    plan = StormPlan(transactions=10, over_s=1.5, entities=4, critical=1.0, kills=0, alerters=1, moody=False, postgres="up")

    report = await Storm(plan).run()

    assert (report.lost, report.astray, report.digests, report.doubles) == (0, 0, 0, 0)
    assert report.posts == report.groups
    assert report.delay_critical_s["max"] < 60, "on a busy machine; the benchmark holds it to 5"
    assert report.on_record == 10
