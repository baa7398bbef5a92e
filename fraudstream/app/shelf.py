"""
What a decision was made with, found again by its identity: feature definitions, rules, lists, models.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec

from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.app.connections import address
from fraudstream.app.list_library import ListLibrary
from fraudstream.app.loading import load_rule_set, load_rulebook
from fraudstream.app.model_registry import open_registry
from fraudstream.app.people import fleet_tokens
from fraudstream.decision.policy import DecisionPolicy
from fraudstream.domain.errors import ConfigurationError, InvalidRule, TransientError
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.load import load_features
from fraudstream.rules.lists import ListContents, read_list
from fraudstream.rules.load import canonical, load_rules
from fraudstream.rules.rates import RATES, Rates, read_rates
from fraudstream.rules.ruleset import RuleSet
from fraudstream.scoring.load import check_model, load_manifest, load_model
from fraudstream.scoring.manifest import MODEL_FILE, decode_manifest
from fraudstream.scoring.model import OnnxModel
from fraudstream.settings import Settings, locate

_T = TypeVar("_T")

#: Stands for the path of what came from Redis.
IN_REDIS = Path("Redis")


class Found(msgspec.Struct, frozen=True):
    """
    One thing that was looked for: itself and where it stands. ``exact`` is False for the current one in place of another.
    """

    thing: object
    path: Path
    exact: bool


class Shelf:
    """
    The current files, the registry of models, and folders in which older ones were kept; each is read once.

    Args:
        settings: Name the current files.
        archives: Folders that are searched, with everything below them, for what is not current any more.

    Raises:
        ConfigurationError: The current feature definitions or the policy cannot be used.
    """

    def __init__(self, settings: Settings, archives: Sequence[Path] = ()) -> None:
        book = load_rulebook(settings)
        self.policy: DecisionPolicy = book.policy
        self._features = {book.features.id: book.features}
        self._feature_paths = {book.features.id: locate(settings.features_path)}
        self._rules_path = locate(settings.rules_path)
        self._model_path = locate(settings.model_path)
        self._lists_path = locate(settings.lists_path)
        self._registry = open_registry(settings)
        self._settings = settings
        self._archives = archives
        self._rules: dict[tuple[str, str, tuple[tuple[str, str], ...]], Found | None] = {}
        self._models: dict[tuple[str, str], Found | None] = {}
        self._texts: list[tuple[Path, str]] | None = None
        self._lists: dict[str, list[tuple[Path, ListContents]]] | None = None
        self._tables: list[Rates] | None = None
        self._written: Callable[[str], str] = str

    async def bring(self, rule_sets: Iterable[str], versions: Iterable[Mapping[str, str]]) -> None:
        """
        Fetch rule sets, lists and rates that no file holds from Redis, where everything that was ever pushed is kept.

        Redis being away, or not having them, is told by ``rules`` as everything else that is not at hand.
        """
        await self._ask_for_tokens()
        at_hand = {_id_of(text) for _, text in self._rule_texts()}
        sets = {one for one in rule_sets if one} - at_hand
        lists = {(name, version) for one in versions for name, version in one.items() if not self._has_version(name, version)}
        if not sets and not lists:
            return
        try:
            async with connected(address(self._settings), connections=2) as client:
                await self._fetch(RedisRuleSets(client), ListLibrary(RedisLists(client)), sets, lists)
        except TransientError:
            return

    async def _ask_for_tokens(self) -> None:
        """
        Learn what stands for people in payments; with Redis away, a rule that asks for one of them cannot be executed again.
        """
        if self._written is not str:
            return
        with suppress(TransientError):
            self._written = (await fleet_tokens(self._settings)).text

    async def _fetch(
        self, sets: RedisRuleSets, library: ListLibrary, wanted: Iterable[str], lists: Iterable[tuple[str, str]]
    ) -> None:
        for rule_set in sorted(wanted):
            with suppress(InvalidRule):
                self._rule_texts().append((IN_REDIS, (await sets.body(rule_set)).text))
        for name, version in sorted(lists):
            with suppress(InvalidRule):
                if name == RATES:
                    self._rate_tables().append(await library.rates(version))
                else:
                    self._all_lists().setdefault(name, []).append((IN_REDIS, await library.contents(version)))
        self._rules = {key: found for key, found in self._rules.items() if found is not None and found.exact}

    def _has_version(self, name: str, version: str) -> bool:
        if name == RATES:
            return any(one.version == version for one in self._rate_tables())
        return any(one.version == version for _, one in self._all_lists().get(name, ()))

    def features(self, feature_set: str) -> FeatureSet | None:
        """
        Return the definitions of a feature set; None when they are not at hand.
        """
        if feature_set not in self._features:
            for path in self._archived("*.features"):
                found = _or_none(path, lambda one: load_features(one.read_text(encoding="utf-8"), name=str(one)))
                if found is not None:
                    self._features.setdefault(found.id, found)
                    self._feature_paths.setdefault(found.id, path)
        return self._features.get(feature_set)

    def rules(self, rule_set: str, versions: Mapping[str, str], features: FeatureSet) -> tuple[RuleSet, list[str]] | None:
        """
        Return a rule set with its lists, or the current one in its place, and in words what is not what it was.
        """
        key = (rule_set, features.id, tuple(sorted(versions.items())))
        if key not in self._rules:
            self._rules[key] = self._find_rules(rule_set, versions, features)
        found = self._rules[key]
        if found is None:
            return None
        rules = found.thing
        assert isinstance(rules, RuleSet), "only rule sets are kept here"
        notes = [] if rules.id == rule_set else [_other("the rule set", rule_set, rules.id, found.path)]
        if rules.id == rule_set:
            where = self._lists_path
            notes += [
                _other(
                    "the table of rates" if name == RATES else f"list @{name}", version, rules.lists.get(name, "none"), where
                )
                for name, version in sorted(versions.items())
                if rules.lists.get(name) != version
            ]
        return rules, notes

    def model(self, model: str, features: FeatureSet) -> tuple[OnnxModel, list[str]] | None:
        """
        Return a model, or the current one in its place, and in words what is not what it was.
        """
        key = (model, features.id)
        if key not in self._models:
            self._models[key] = self._find_model(model, features)
        found = self._models[key]
        if found is None:
            return None
        loaded = found.thing
        assert isinstance(loaded, OnnxModel), "only models are kept here"
        return loaded, [] if loaded.id == model else [_other("the model", model, loaded.id, found.path)]

    def current(self, feature_set: str) -> tuple[RuleSet, OnnxModel] | None:
        """
        Return the current rules and model; None where they do not look at the columns of this feature set.

        Raises:
            ConfigurationError: They cannot be used.
        """
        book = load_rulebook(self._settings)
        if book.features.id != feature_set:
            return None
        model = load_model(self._model_path, book.features.names, feature_set=feature_set)
        return load_rule_set(self._settings, book.features), model

    def _find_rules(self, rule_set: str, versions: Mapping[str, str], features: FeatureSet) -> Found | None:
        from_hash = [one for one in self._rule_texts() if _id_of(one[1]) == rule_set]
        for exact, candidates in ((True, from_hash), (False, self._rule_texts()[:1])):
            for path, text in candidates:
                lists, rates = self._lists_for(versions if exact else {}), self._rates_for(versions)
                load = partial(load_rules, text, features=features.names, lists=lists, rates=rates, written=self._written)
                loaded = _or_none(path, lambda one: load(name=str(one)))  # noqa: B023 - called at once
                if loaded is not None:
                    return Found(loaded, path, exact)
        return None

    def _rule_texts(self) -> list[tuple[Path, str]]:
        """
        Return every rule file, the current one first.
        """
        if self._texts is None:
            paths = [self._rules_path, *self._archived("*.rules")]
            texts = [(path, _or_none(path, lambda one: one.read_text(encoding="utf-8"))) for path in paths]
            self._texts = [(path, text) for path, text in texts if text is not None]
        return self._texts

    def _lists_for(self, versions: Mapping[str, str]) -> dict[str, ListContents]:
        """
        Return each list in the version that is asked for, in the current one where that is not at hand.
        """
        return {
            name: next((one for _, one in kept if one.version == versions.get(name)), kept[0][1])
            for name, kept in self._all_lists().items()
        }

    def _all_lists(self) -> dict[str, list[tuple[Path, ListContents]]]:
        """
        Return every version of every list, the current one first.
        """
        if self._lists is None:
            self._lists = {}
            for path in (*sorted(self._lists_path.glob("*.list")), *self._archived("*.list")):
                contents = _or_none(path, lambda one: read_list(one.read_text(encoding="utf-8"), self._written))
                if contents is not None:
                    self._lists.setdefault(path.stem, []).append((path, contents))
        return self._lists

    def _rate_tables(self) -> list[Rates]:
        """
        Return every table of rates, the current one first.
        """
        if self._tables is None:
            current = self._settings.rates_path
            paths = [*([] if current is None else [locate(current)]), *self._archived("*.rates")]
            tables = (_or_none(path, lambda one: read_rates(one.read_text(encoding="utf-8"), str(one))) for path in paths)
            self._tables = [one for one in tables if one is not None]
        return self._tables

    def _rates_for(self, versions: Mapping[str, str]) -> Rates | None:
        """
        Return the table that a decision names; none where it names none, as then there was none.
        """
        wanted = versions.get(RATES)
        tables = self._rate_tables() if wanted else []
        return next((one for one in tables if one.version == wanted), tables[0] if tables else None)

    def _find_model(self, model: str, features: FeatureSet) -> Found | None:
        paths = [self._model_path, *self._archived("*.onnx")]
        exact = [path for path in paths if _manifest_sha(path) == model]
        for path in exact:
            if (loaded := _loaded(path, features)) is not None:
                return Found(loaded, path, exact=True)
        if (loaded := self._pushed(model, features)) is not None:
            return Found(loaded, Path(self._registry.place), exact=True)
        current = _loaded(self._model_path, features)
        return None if current is None else Found(current, self._model_path, exact=False)

    def _pushed(self, model: str, features: FeatureSet) -> OnnxModel | None:
        """
        Return a model of the registry; the hash of its bytes is what it was asked for by, so no pointer needs to know it.
        """
        place = Path(self._registry.place) / model
        try:
            raw, manifest = self._registry.read(model)
            loaded = check_model(
                raw, decode_manifest(manifest, place), features.names, feature_set=features.id, path=place / MODEL_FILE
            )
        except ConfigurationError:
            return None
        return loaded if loaded.id == model else None

    def _archived(self, pattern: str) -> Iterator[Path]:
        return (path for folder in self._archives for path in sorted(folder.rglob(pattern)))


def _loaded(path: Path, features: FeatureSet) -> OnnxModel | None:
    return _or_none(path, lambda one: load_model(one, features.names, feature_set=features.id))


def _or_none(path: Path, read: Callable[[Path], _T]) -> _T | None:
    """
    Return what a file holds; None for one that cannot be used, which is as good as none here.
    """
    try:
        return read(path)
    except (ConfigurationError, OSError, UnicodeDecodeError):
        return None


def _called(name: str) -> str:
    return "the table of rates" if name == RATES else f"list @{name}"


def _id_of(text: str) -> str:
    return sha256(canonical(text).encode(errors="surrogatepass")).hexdigest()


def _manifest_sha(path: Path) -> str:
    found = _or_none(path, load_manifest)
    return "" if found is None else found.sha256


def _other(what: str, recorded: str, current: str, path: Path) -> str:
    return f"{what} differs: the decision was made with {recorded[:12]}, which is not at hand; {path} is {current[:12]}"
