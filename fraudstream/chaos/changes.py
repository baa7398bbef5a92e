"""
What is changed on purpose while a run goes on: the rules in force, and the model of those who start from then on.
"""

from contextlib import suppress

import msgspec

from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.chaos.stage import Stage
from fraudstream.domain.errors import RuleSetRefused, TransientError
from fraudstream.features.load import load_features
from fraudstream.rules.load import load_lists, load_rules, read_rules
from fraudstream.scoring.load import read_model
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE, sha256_hex
from fraudstream.settings import Settings, locate


async def change_rules(stage: Stage) -> None:
    """
    Put another rule set in force, as ``fraudstream rules activate`` does.
    """
    stage.rule_sets += 1
    settings = Settings()
    text = read_rules(locate(settings.rules_path))
    text += f'\nrule chaos_{stage.rule_sets}\n  review if :amount: > {9_000_000 + stage.rule_sets}\n  reason "chaos"\n'
    names = load_features(locate(settings.features_path).read_text()).names
    rules = load_rules(text, features=names, lists=load_lists(locate(settings.lists_path)))
    sets = RedisRuleSets(stage.admin)
    with suppress(TransientError, RuleSetRefused):  # a failover, or two changes at once, of which one is refused
        await sets.push(rules.id, rules.source, author="chaos", reason="chaos", name="chaos")
        await sets.activate(await sets.pointer(), rules.id, kind="activate", actor="chaos", reason="chaos")
        stage.kinds["rule_change"] += 1


def other_model(stage: Stage) -> None:
    """
    Have workers that start from now on load another model: the same trees under another hash.
    """
    model, manifest = read_model(locate(Settings().model_path))
    model += b"\x32\x05chaos"  # one more doc_string: the last one counts
    target = stage.folder / "model"
    target.mkdir()
    (target / MODEL_FILE).write_bytes(model)
    described = {**msgspec.json.decode(manifest), "sha256": sha256_hex(model), "version": "chaos"}
    (target / MANIFEST_FILE).write_bytes(msgspec.json.encode(described))
    stage.model_folder = target
