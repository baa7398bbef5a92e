"""
What the deciding groups work by, read from the files that the settings name.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from fraudstream.app.list_files import ListFiles
from fraudstream.decision.policy import DecisionPolicy, parse_policy
from fraudstream.domain.errors import InvalidSettings
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.load import load_features
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules_file
from fraudstream.rules.rates import Rates
from fraudstream.rules.ruleset import RuleSet
from fraudstream.settings import Settings, locate


class Rulebook(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the deciding groups work by, loaded once at start-up.
    """

    features: FeatureSet
    policy: DecisionPolicy


def load_rulebook(settings: Settings) -> Rulebook:
    """
    Load feature definitions and policy.

    Raises:
        ConfigurationError: A file is missing or wrong; the text names every problem.
    """
    path = locate(settings.features_path)
    return Rulebook(features=load_features(_text(path, "FRAUDSTREAM_FEATURES"), name=str(path)), policy=load_policy(settings))


def read_features(path: Path) -> FeatureSet:
    """
    Load a definitions file that is not the one in force.

    Raises:
        InvalidFeatures: It is wrong; the text names every problem.
        InvalidSettings: It cannot be read.
    """
    try:
        return load_features(path.read_text(encoding="utf-8"), name=str(path))
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidSettings(f"{path} cannot be read ({exc})") from None


def load_policy(settings: Settings) -> DecisionPolicy:
    """
    Load the policy, the built-in one when the settings name none.

    Raises:
        InvalidSettings: It cannot be read or used.
    """
    if settings.policy_path is None:
        return DecisionPolicy()
    return parse_policy(_text(locate(settings.policy_path), "FRAUDSTREAM_POLICY").encode())


def _text(path: Path, variable: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidSettings(f"{path} cannot be read ({exc}); name another file with {variable}") from None


def load_rule_set(
    settings: Settings,
    features: FeatureSet,
    *,
    lists: Mapping[str, ListContents] | None = None,
    rates: Rates | None = None,
    written: Callable[[str], str] = str,
) -> RuleSet:
    """
    Load the rules of the file, over the lists and rates that are given, or those of the files when no lists are.
    For ``written`` see ``load_rules``.

    Raises:
        InvalidRule: A rule or list is wrong; the text shows every problem with its place.
    """
    if lists is None:
        lists, rates = ListFiles(settings).read()
    return load_rules_file(locate(settings.rules_path), features=features.names, lists=lists, rates=rates, written=written)
