from fraudstream.rules.workload import build_workload


def test_a_workload_is_the_same_each_time_and_meets_its_rules():
    one = build_workload(rules=50, list_entries=100, transactions=512)
    other = build_workload(rules=50, list_entries=100, transactions=512)

    hits = [row.hits for row in one.rules.evaluate(one.transactions, one.matrix)]

    assert one.rules.id == other.rules.id
    assert one.transactions == other.transactions
    assert hits == [row.hits for row in other.rules.evaluate(other.transactions, other.matrix)]
    assert 0.05 < sum(map(bool, hits)) / 512 < 0.4
    assert set(one.rules.lists) == {"cards", "emails", "ips"}
