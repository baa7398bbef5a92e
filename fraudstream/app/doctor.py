"""
The whole examination: the running system, looked at twice, and the files that a worker would load here.
"""

import asyncio
from collections.abc import Iterator

import msgspec

from fraudstream.adapters.slack_check import check_slack
from fraudstream.app.findings import Finding, Level, Limits
from fraudstream.app.health import judge_change
from fraudstream.app.health_server import advise
from fraudstream.app.loading import load_rule_set, load_rulebook
from fraudstream.app.looking import look_at_database, looks
from fraudstream.app.models import open_model_desk
from fraudstream.domain.errors import AlertFailed, ConfigurationError, FraudstreamError, StreamUnavailable, TransientError
from fraudstream.features.compiled import LIBRARY, PROBLEM
from fraudstream.scoring.load import load_model
from fraudstream.settings import Settings, locate


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was found; where Redis is not ``reachable``, nothing is known of streams and groups.
    """

    reachable: bool
    findings: list[Finding]


async def examine(settings: Settings, limits: Limits, *, between_s: float = 2.0, slack: bool = False) -> Examination:
    """
    Return everything that there is to say.

    Args:
        settings: Checked settings.
        limits: From where on something is bad.
        between_s: Pause between the two looks, which show whether a group falls behind or stands still.
        slack: Whether to ask Slack if it knows our token.
    """
    reachable, found = await _running(settings, limits, between_s)
    found += await asyncio.to_thread(lambda: list(_files(settings)))
    if reachable:
        found += await _models_in_use(settings)
    if slack:
        found.append(await _slack(settings))
    return Examination(reachable=reachable, findings=found)


async def _running(settings: Settings, limits: Limits, between_s: float) -> tuple[bool, list[Finding]]:
    try:
        first, last = [look async for look in looks(settings, limits, every_s=between_s, times=2)]
    except StreamUnavailable as exc:
        says = f"Redis is not reachable, nothing is decided: {exc}"
        away = Finding(level=Level.FAIL, about="redis", says=says, command="start it; is REDIS_URL right?")
        return False, [away, *await look_at_database(settings.postgres_url)]
    found = [*last.findings, *judge_change(first.overview, last.overview, limits), *advise(last.overview.server)]
    if settings.postgres_url is None:
        found.append(Finding(level=Level.OK, about="database", says="not looked at: POSTGRES_URL is not set here"))
    return True, found


def _files(settings: Settings) -> Iterator[Finding]:
    """
    Load what a worker loads at its start.
    """
    try:
        rulebook = load_rulebook(settings)
    except ConfigurationError as exc:
        yield _refused("features", exc, "FRAUDSTREAM_FEATURES and FRAUDSTREAM_POLICY name the files")
        return  # rules and model are read against the features
    features = rulebook.features
    yield _fine("features", f"{locate(settings.features_path)}: {len(features.names)} features, set {features.id}")
    yield _kernel()
    try:
        rules = load_rule_set(settings, features)
        yield _fine("rules", f"{locate(settings.rules_path)}: {len(rules.rules)} rules, set {rules.id[:12]}")
    except ConfigurationError as exc:
        yield _refused("rules", exc, "FRAUDSTREAM_RULES and FRAUDSTREAM_LISTS name the files")
    try:
        model = load_model(locate(settings.model_path), features.names, feature_set=features.id)
        yield _fine("model", f"{locate(settings.model_path)}: {model.version}, checksum {model.id[:12]} as its manifest says")
    except ConfigurationError as exc:
        yield _refused("model", exc, "ML_MODEL_PATH names it; fraudstream train makes one")


def _kernel() -> Finding:
    if LIBRARY is not None:
        return _fine("kernel", "features are worked out by the compiled kernel")
    command = "install a C compiler (apt-get install gcc), then fraudstream again"
    says = f"features are worked out by arrays, to the same values and at two to six times the cost: {PROBLEM}"
    return Finding(level=Level.WARN, about="kernel", says=says, command=command)


async def _models_in_use(settings: Settings) -> list[Finding]:
    """
    Load the pushed models that a worker would take over at its start.
    """
    try:
        async with open_model_desk(settings, "doctor") as desk:
            _, models = await desk.models()
    except (ConfigurationError, TransientError) as exc:
        return [_refused("models in use", exc, "FRAUDSTREAM_MODEL_REGISTRY names the registry")]
    found = []
    for one in models:
        if one.role and one.problem:
            says, command = f"{one.role} {one.version}: {one.problem}", "fraudstream model push … or fraudstream model rollback"
            found.append(Finding(level=Level.FAIL, about="models in use", says=says, command=command))
        elif one.role:
            found.append(_fine("models in use", f"{one.role} {one.version}, {one.model[:12]}"))
    return found


async def _slack(settings: Settings) -> Finding:
    if not settings.slack_bot_token:
        return Finding(
            level=Level.WARN, about="slack", says="no bot token is set here", command="set FRAUDSTREAM_SLACK_BOT_TOKEN"
        )
    try:
        return _fine(
            "slack", f"the token belongs to {await check_slack(settings.slack_bot_token, base_url=settings.slack_base_url)}"
        )
    except AlertFailed as exc:
        command = "make a new token at api.slack.com/apps" if exc.permanent else f"curl -sI {settings.slack_base_url}"
        return Finding(level=Level.FAIL, about="slack", says=f"auth.test: {exc.detail}", command=command)


def _fine(about: str, says: str) -> Finding:
    return Finding(level=Level.OK, about=about, says=says)


def _refused(about: str, why: FraudstreamError, command: str) -> Finding:
    return Finding(level=Level.FAIL, about=about, says=str(why), command=command)
