"""
A definitions file to a ``FeatureSet``, or to every problem in it.
"""

import hashlib
import math
from collections.abc import Iterator

from fraudstream.domain.errors import InvalidFeatures
from fraudstream.features.catalogue import AGGREGATES, MAX_EDGES, MAX_WINDOW_S, TEXT_FIELDS
from fraudstream.features.check import Meaning, check
from fraudstream.features.definitions import PLACE, SLOT, Feature, FeatureSet
from fraudstream.features.layout import RecordLayout
from fraudstream.features.lexer import Problem
from fraudstream.features.parse import Document, FeatureStatement, parse
from fraudstream.features.syntax import Aggregate, Expression, Field, Span, canonical, walk

#: Most features in one file, and its longest size in characters: both far above what a person writes.
MAX_FEATURES, MAX_SOURCE = 512, 256 * 1024
#: Records kept per log where the file does not say.
DEFAULT_KEEP = 256
#: Raised when the kernel answers differently for the same definitions: it is part of the id.
SEMANTICS = 1
#: What a state outlives its longest window by: a day for the daily refresh, and 300 s of skew between clocks.
_SLACK_S = 86_400 + 300


def load_features(source: str, *, name: str = "<features>") -> FeatureSet:
    """
    Read a definitions file; docs/features.md describes its language.

    Args:
        source: The text of the file.
        name: What problems call the file.

    Raises:
        InvalidFeatures: The text shows each problem with line, caret and remedy.

    Example:
        >>> load_features("entity card log feature card_count_1h = count() by card_id over 1h").names
        ('card_count_1h',)
    """
    if len(source) > MAX_SOURCE:
        raise InvalidFeatures(f"{name}: the file has more than {MAX_SOURCE} characters; split it or remove features")
    document = parse(source)
    meaning = check(document)
    _bounds(document, meaning)
    if document.problems:
        pictures = [problem.picture(source, name) for problem in sorted(document.problems, key=lambda one: one.at.start)]
        raise InvalidFeatures(f"{name} has {len(pictures)} problem(s)\n" + "\n".join(pictures))
    return _feature_set(source, document, meaning)


def _bounds(document: Document, meaning: Meaning) -> None:
    if not document.features and not document.problems:
        document.problems.append(
            Problem(Span(0, 0), "no feature is defined", "write for example: feature amount_minor = amount")
        )
    if len(document.features) > MAX_FEATURES:
        at = document.features[MAX_FEATURES].at
        document.problems.append(Problem(at, f"there are more than {MAX_FEATURES} features", "remove some"))
    edges: dict[str, set[int]] = {}
    for body in _aggregates(meaning):
        known = edges.setdefault(body.entity, set())
        known.update((body.delayed_s, body.delayed_s + (body.over_s or 0)))
        if len(known) > MAX_EDGES:
            what = f"the features by {' and '.join(body.by)} have more than {MAX_EDGES} different windows and delays"
            document.problems.append(Problem(body.at, what, "use the same windows more often"))
            return


def _feature_set(source: str, document: Document, meaning: Meaning) -> FeatureSet:
    features = tuple(
        _feature(source, statement, body) for statement, body in zip(document.features, meaning.bodies, strict=True)
    )
    keep = document.keep or DEFAULT_KEEP
    resolutions = _resolutions(meaning.buckets)
    words: dict[str, set[str]] = {entity.kind: set() for entity in meaning.entities if entity.log}
    for body in _aggregates(meaning):
        words.setdefault(body.entity, set()).update(_hashed(body))
    hashed = tuple(sorted(set().union(*words.values())))
    meanings = [f"{feature.name}={canonical(feature.body)} default {feature.default!r}" for feature in features]
    kept = [repr(entity) for entity in meaning.entities]
    ring_layout = _short(repr((SLOT.descr, resolutions)))
    # Part of every id since the first file, though records look different by now: an id must outlive how states are kept.
    former_log_layout = _short(repr(("hash", "time", "amount", hashed, "flags")))
    return FeatureSet(
        id=_digest("\n".join([f"semantics {SEMANTICS} keep {keep} {former_log_layout} {ring_layout}", *kept, *meanings])),
        features=features,
        entities=tuple(meaning.entities),
        hashed=hashed,
        order=tuple(meaning.order),
        layouts={entity.kind: RecordLayout(tuple(sorted(words[entity.kind]))) for entity in meaning.entities if entity.log},
        former_log_layout=former_log_layout,
        ring_layout=ring_layout,
        ring_resolutions=resolutions,
        log_cap_records=keep,
        state_ttl_s=_longest_s(meaning) + _SLACK_S,
        reads_outcome=any(_reads(meaning, "outcome")),
        reads_labels=any(_reads(meaning, "label")) or any(AGGREGATES[body.function].labels for body in _aggregates(meaning)),
    )


def _feature(source: str, statement: FeatureStatement, body: Aggregate | Expression) -> Feature:
    kind = AGGREGATES[body.function] if isinstance(body, Aggregate) else None
    default = statement.default
    if default is None:
        default = math.nan if kind is None else kind.default
    unit = statement.unit if statement.unit is not None else ("number" if kind is None else kind.unit)
    text = " ".join(source[statement.whole.start : statement.whole.end].split())
    return Feature(statement.name, unit, default, statement.about, text, body)


def _aggregates(meaning: Meaning) -> Iterator[Aggregate]:
    return (body for body in meaning.bodies if isinstance(body, Aggregate))


def _reads(meaning: Meaning, name: str) -> Iterator[bool]:
    """
    Say of each condition on the past whether it looks at the outcome or the label.
    """
    for body in _aggregates(meaning):
        if body.where is not None:
            yield any(isinstance(node, Field) and node.name == name and not node.current for node in walk(body.where))


def _hashed(body: Aggregate) -> Iterator[str]:
    """
    Yield the fields of past transactions that an aggregate compares by their words.
    """
    yield from body.same
    if AGGREGATES[body.function].argument == "text":
        yield body.argument
    if body.function == "speed_kmh":
        yield PLACE
    if body.where is not None:
        for node in walk(body.where):
            if isinstance(node, Field) and not node.current and node.name in TEXT_FIELDS:
                yield node.name


def _resolutions(buckets: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int, int], ...]:
    found: list[tuple[int, int, int]] = []
    offset = 0
    for width_s, slots in buckets:
        found.append((width_s * 1_000, offset, slots))
        offset += slots * SLOT.itemsize
    return tuple(found)


def _longest_s(meaning: Meaning) -> int:
    windows = [(body.over_s or MAX_WINDOW_S) + body.delayed_s for body in _aggregates(meaning)]
    return max([*windows, *(width_s * slots for width_s, slots in meaning.buckets)], default=0)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _short(text: str) -> str:
    return _digest(text)[:8]
