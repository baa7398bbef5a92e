"""
The measurement of features: what it measures is what it says.
"""

from fraudstream.app.bench_features import bench_features, workload


def test_the_workload_is_41_features_over_four_kinds_of_entity() -> None:
    features = workload()

    assert (len(features.names), features.logs, features.rings) == (41, ("card", "user", "device"), ("merchant",))


async def test_client_and_server_are_measured_apart_over_cards_of_a_hundred_events() -> None:
    found = await bench_features(cards=8, transactions=64, batch=32)

    assert (found.features, found.entity_kinds, found.batch, found.transactions) == (41, 4, 32, 64)
    assert found.events_per_card == 100
    assert found.record_bytes == {"card": 25, "user": 13, "device": 17}
    assert 100 * found.record_bytes["card"] < found.bytes_per_card <= 4096
    assert 0 < found.kernel_us_per_transaction < found.client_us_per_transaction
    assert found.redis_us["evalsha"] > 0
    assert found.redis_us["mget"] > 0
