"""
CPU time of each step of a batch, in one process, without any server: ``python benchmarks/stages.py``.

The figures are of the machine and the moment; compare them within one run only.
"""

import time
from collections import defaultdict
from pathlib import Path

from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.features.kernel import compute
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.records import records
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate
from fraudstream.rules.load import load_lists, load_rules_file
from fraudstream.scoring.load import load_model

MODELS = Path(__file__).parents[1] / "models"
#: 2026-02-02 00:00:00 UTC; the bodies are the same in every run.
END_MS = 1_769_990_400_000
BATCHES = (8, 32, 128, 256)


def main() -> None:
    """
    Print microseconds of CPU per transaction, by batch size and step.
    """
    features = load_features((MODELS / "default.features").read_text())
    rules = load_rules_file(MODELS / "default.rules", features=features.names, lists=load_lists(MODELS / "lists"))
    model = load_model(MODELS, features.names, feature_set=features.id)
    bodies = [row.body for row in generate(demo_plan(3, end_ms=END_MS, transactions=20_000))]
    started = time.process_time()
    transactions = [parse_transaction(body, now_ms=END_MS, default_currency="USD") for body in bodies]
    print(f"decode {(time.process_time() - started) / len(bodies) * 1e6:.1f} us")
    for size in BATCHES:
        store, spent = MemoryEntityStore(features), defaultdict[str, float](float)
        for start in range(0, len(transactions), size):
            batch, marks = transactions[start : start + size], [time.process_time()]
            prepared = records(features, batch)
            marks.append(time.process_time())
            standings, states = store.touch(prepared), store.states(prepared)
            marks.append(time.process_time())
            matrix = compute(features, batch, prepared, standings, states)
            marks.append(time.process_time())
            rules.evaluate(batch, matrix)
            marks.append(time.process_time())
            model.score(matrix)
            marks.append(time.process_time())
            for step, since, until in zip(
                ("records", "memory store", "features", "rules", "model"), marks, marks[1:], strict=False
            ):
                spent[step] += until - since
        print(
            f"batch {size:3}: " + ", ".join(f"{step} {used / len(transactions) * 1e6:.1f} us" for step, used in spent.items())
        )


if __name__ == "__main__":
    main()
