"""
Every setting with its default, its unit in its name and one sentence.

The sentences are data: ``.env.example`` is written from them.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import msgspec

#: What every environment name but the five plain ones begins with.
PREFIX = "FRAUDSTREAM_"
#: The consumer groups that exist; another name is refused.
GROUPS = ("fraud-check", "ml-scoring", "recorder", "alerter", "labels")
#: The name that older deployments use for both deciding groups in one process.
BOTH_DECIDING_GROUPS = "fraud-group"
#: What a secret, or the password inside an address, is shown as.
_HIDDEN = "****"


class _About(NamedTuple):
    """
    What is known of a setting beside its type: see ``_says``.
    """

    sentence: str
    section: str
    variable: str
    plain: str
    secret: bool
    bounds: dict[str, Any]


def _says(
    sentence: str, *, section: str = "", variable: str = "", plain: str = "", secret: bool = False, **bounds: Any
) -> msgspec.Meta:
    """
    Describe a setting.

    Args:
        sentence: What it means, for the person who sets it.
        section: Title that this setting and those after it stand under.
        variable: Its environment name without the prefix; the field's own name in capitals when empty.
        plain: One of the five names without a prefix.
        secret: Whether it is never shown, and may be given as the path of a file by a name that ends in ``_FILE``.
        bounds: Limits in the words of ``msgspec.Meta``.
    """
    return msgspec.Meta(extra={"about": _About(sentence, section, variable, plain, secret, bounds)})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that can be set, checked. Rooms get the two or three values that they need, never the whole.
    """

    redis_url: Annotated[
        str,
        _says(
            "Address of Redis; rediss:// speaks TLS; redis+cluster://host:port,host:port is a cluster,"
            " redis+sentinel://host:port,host:port/service the primary that the sentinels name.",
            section="Redis",
            plain="REDIS_URL",
            secret=True,
            pattern=r"^(rediss?(\+cluster|\+sentinel)?|unix)://",
        ),
    ] = "redis://127.0.0.1:6379/0"
    redis_ca_file: Annotated[Path | None, _says("Certificate authority that signed the certificate of Redis.")] = None
    redis_cert_file: Annotated[Path | None, _says("Certificate that we show to Redis; needs the key too.")] = None
    redis_key_file: Annotated[Path | None, _says("Private key of the certificate that we show to Redis.")] = None
    partitions: Annotated[
        int,
        _says(
            "Parts that streams and states are laid out in, equal in all workers and producers; chosen once, for good.",
            ge=1,
            le=16_384,
        ),
    ] = 1
    allow_no_persistence: Annotated[
        bool, _says("Start although Redis keeps no append-only file; a crash of Redis then loses transactions.")
    ] = False
    memory_limit_ratio: Annotated[
        float, _says("Share of the memory of Redis above which producers are refused.", gt=0, le=1)
    ] = 0.8
    lag_limit_entries: Annotated[
        int, _says("Entries that a group may lie behind before producers are refused; 0 = no limit.", ge=0)
    ] = 1_000_000
    janitor_interval_s: Annotated[float, _says("Pause between two trims of what every group has finished.", gt=0, le=3600)] = (
        1.0
    )

    postgres_url: Annotated[
        str | None,
        _says(
            "Address of PostgreSQL or TimescaleDB; sslmode, sslrootcert, sslcert and sslkey are understood; "
            "groups recorder and labels need it.",
            section="PostgreSQL",
            plain="POSTGRES_URL",
            secret=True,
            pattern=r"^postgres(ql)?://",
        ),
    ] = None

    consumer_group: Annotated[
        str,
        _says(
            "Groups that a worker serves, several with commas: fraud-check, ml-scoring, recorder, alerter, labels; "
            "fraud-group is the first two.",
            section="Worker",
            variable="GROUP",
            plain="CONSUMER_GROUP",
        ),
    ] = "fraud-check"
    consumer_id: Annotated[
        str | None,
        _says(
            "Readable first part of the consumer's name, host:pid when not set; a random part always follows.",
            plain="CONSUMER_ID",
            max_length=128,
            pattern=r"^[A-Za-z0-9._:@-]+$",
        ),
    ] = None
    stream: Annotated[
        str | None, _says("Stream that is read or written; the group's own input when not set.", min_length=1, max_length=256)
    ] = None
    batch_entries: Annotated[int, _says("Most entries of one read.", ge=1, le=4096)] = 256
    batches_in_hand: Annotated[int, _says("Most batches read and not yet finished.", ge=1, le=64)] = 2
    follow_ms: Annotated[
        int,
        _says(
            "How long ml-scoring waits for the features that fraud-check has computed before it computes them itself;"
            " 0 = both always compute.",
            ge=0,
            le=1000,
        ),
    ] = 150
    block_ms: Annotated[
        int, _says("How long a read waits for the first entry; half of what a reply may take at most.", ge=1, le=2500)
    ] = 1000
    heartbeat_life_s: Annotated[
        float, _says("How long a sign of life counts; after it others may take the worker's entries.", ge=0.1, le=600)
    ] = 10.0
    claim_idle_s: Annotated[
        float, _says("How long an entry must lie idle before it is taken from a worker that is gone.", ge=0.1, le=3600)
    ] = 15.0
    hard_idle_s: Annotated[
        float, _says("How long an entry may lie idle before it is taken from a worker that still gives signs of life.", gt=0)
    ] = 300.0
    max_deliveries: Annotated[
        int, _says("Failures of an entry, or deaths that it caused, before it becomes a dead letter.", ge=1, le=100)
    ] = 5
    drain_timeout_s: Annotated[
        float, _says("How long a worker that was told to stop may take to finish what it has in hand.", ge=0, le=3600)
    ] = 30.0

    features_path: Annotated[Path, _says("Feature definitions.", section="Decision", variable="FEATURES")] = Path(
        "models/default.features"
    )
    rules_path: Annotated[Path, _says("Rules.", variable="RULES")] = Path("models/default.rules")
    lists_path: Annotated[Path, _says("Folder of the lists that rules refer to, one file each.", variable="LISTS")] = Path(
        "models/lists"
    )
    rates_path: Annotated[
        Path | None, _says("Table of exchange rates for amounts in rules; one of the fleet's wins.", variable="RATES")
    ] = None
    rules_four_eyes: Annotated[
        bool, _says("Whether rules that block payments must be activated by somebody else than who pushed them.")
    ] = False
    rules_guard: Annotated[
        bool, _says("Whether a rule that fires far above its guard is put in shadow by itself; equal in all workers.")
    ] = False
    unmask_actors: Annotated[
        tuple[str, ...],
        _says("Users of the machine who may see personal data with --unmask, several with commas; everybody when not set."),
    ] = ()
    actor: Annotated[
        str | None, _says("Who changes rules or models, for their history; the machine's user when not set.", max_length=128)
    ] = None
    model_path: Annotated[
        Path,
        _says(
            "Model folder, or the ONNX file with its .json beside it; group ml-scoring needs it.",
            variable="MODEL",
            plain="ML_MODEL_PATH",
        ),
    ] = Path("models/fraud.onnx")
    model_registry: Annotated[
        str,
        _says(
            "Folder of the models that were pushed, the same for all workers that score: a path, or a URL such as"
            " s3://bucket/models.",
            min_length=1,
        ),
    ] = "model-registry"
    policy_path: Annotated[
        Path | None, _says("Decision policy: bands, amounts, fallbacks; the built-in one when not set.", variable="POLICY")
    ] = None
    token_key: Annotated[
        str | None,
        _says(
            "Key of the tokens that stand for e-mail addresses and phone numbers from the workers on, equal in all of them; "
            "without it the fleet makes one and keeps it in Redis.",
            secret=True,
        ),
    ] = None
    currency: Annotated[str, _says("ISO 4217 code of transactions that name no currency.")] = "USD"
    dedup_horizon_s: Annotated[
        int, _says("How long a transaction id is remembered, equal in all workers; 0 = ids may repeat.", ge=0)
    ] = 3600
    dedup_any_age_s: Annotated[
        int, _says("How long a transaction id is remembered where payments of any age count (horizon 0).", ge=1)
    ] = 3600
    decision_deadline_ms: Annotated[
        int, _says("How long the first verdict waits for the second before a fallback stands in; 0 = for ever.", ge=0)
    ] = 250

    alert_channels: Annotated[
        tuple[Literal["console", "slack", "email", "webhook"], ...],
        _says("Channels that alerts go to, several with commas: console, slack, email, webhook.", section="Alerts"),
    ] = ("console",)
    slack_bot_token: Annotated[str | None, _says("Bot token with the scope chat:write.", secret=True)] = None
    slack_channel: Annotated[str | None, _says("Name or id of the Slack channel; the bot must be a member.")] = None
    slack_critical_channel: Annotated[
        str | None, _says("Name or id of the Slack channel for critical alerts; slack_channel when not set.")
    ] = None
    slack_signing_secret: Annotated[
        str | None,
        _says("Signing secret of the Slack app; with it messages have buttons, which alerts serve receives.", secret=True),
    ] = None
    slack_analysts: Annotated[
        tuple[str, ...], _says("Slack user ids whose buttons count, several with commas; * = everybody who sees the message.")
    ] = ()
    slack_base_url: Annotated[str, _says("Address of the Slack API.", pattern=r"^https?://")] = "https://slack.com/api/"
    smtp_host: Annotated[str | None, _says("Mail server.")] = None
    smtp_port: Annotated[int, _says("Port of the mail server.", ge=1, le=65535)] = 587
    smtp_username: Annotated[str | None, _says("User name at the mail server; no login when not set.")] = None
    smtp_password: Annotated[str | None, _says("Password at the mail server.", secret=True)] = None
    smtp_from: Annotated[str | None, _says("Sender of alert mails.")] = None
    smtp_to: Annotated[tuple[str, ...], _says("Receivers of alert mails, several with commas.")] = ()
    smtp_starttls: Annotated[
        bool, _says("Refuse a mail server whose connection cannot turn to TLS; false = as smtp_tls none.")
    ] = True
    smtp_tls: Annotated[
        Literal["starttls", "tls", "none"],
        _says("How mails are kept secret on the way: starttls (587), tls from the first byte (465), none = in clear."),
    ] = "starttls"
    smtp_ca_file: Annotated[Path | None, _says("Certificate authority that signed the mail server's certificate.")] = None
    webhook_url: Annotated[str | None, _says("Address that alerts are posted to as JSON.", pattern=r"^https?://")] = None
    webhook_secret: Annotated[str | None, _says("Key of the signature (HMAC-SHA256) on each post.", secret=True)] = None
    alert_fallback: Annotated[
        Literal["console", "slack", "email", "webhook"] | None,
        _says("Channel that gets critical alerts which their own channel refuses, or does not take while it is away."),
    ] = None
    alert_silence_s: Annotated[
        float, _says("How long an alert group must be silent before the next payment opens a new one.", gt=0, le=86_400)
    ] = 1800.0
    alert_storm_groups: Annotated[
        int, _says("New alert groups within a minute above which a channel folds them into a digest.", ge=1, le=10_000)
    ] = 30
    alert_storm_amount_major: Annotated[
        float, _says("Major units from which a critical group is told alone even in a storm.", ge=0)
    ] = 10_000.0
    alert_quiet_hours: Annotated[
        str | None,
        _says(
            "Hours, as 22:00-08:00, in which only critical alerts are told; the rest comes as one digest after.",
            pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        ),
    ] = None
    alert_time_zone: Annotated[str, _says("Time zone of the quiet hours, as Europe/Berlin.")] = "UTC"
    alert_case_url: Annotated[
        str | None,
        _says("Link to a case, with {alert_id} and {transaction_id} to be filled in.", pattern=r"^https?://"),
    ] = None
    alert_overview_url: Annotated[
        str | None, _says("Link to the dashboard that a digest of many alerts offers.", pattern=r"^https?://")
    ] = None
    alert_runbook_url: Annotated[str | None, _says("Link to what to do about an alert.", pattern=r"^https?://")] = None

    metrics_port: Annotated[
        int | None,
        _says("Port of /metrics; 0 = a free one, which the log names; none = off.", section="Telemetry", ge=0, le=65535),
    ] = 0
    metrics_host: Annotated[str, _says("Address that /metrics listens on.")] = "127.0.0.1"
    metrics_dir: Annotated[
        Path | None, _says("Folder for a file that tells Prometheus (file_sd_configs) which port was taken.")
    ] = None
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _says("Least level that is logged.")] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"], _says("Form of a log line; auto = console on a terminal, JSON otherwise.")
    ] = "auto"

    config_path: Annotated[
        Path | None, _says("TOML file with settings by their field names.", section="Files", variable="CONFIG")
    ] = None
    data_path: Annotated[
        Path | None, _says("Folder with public data sets to measure on; tests that need them skip without.", variable="DATA")
    ] = None

    @property
    def groups(self) -> tuple[str, ...]:
        """
        The groups to serve, each once, ``fraud-group`` spelled out.
        """
        names = [name.strip() for name in self.consumer_group.split(",")]
        return tuple(dict.fromkeys(one for name in names for one in (GROUPS[:2] if name == BOTH_DECIDING_GROUPS else (name,))))

    def shown(self) -> dict[str, str]:
        """
        Every value as text for people, secrets hidden; of an address, only the user and password are.
        """
        return {name: _shown(setting, getattr(self, name)) for name, setting in CATALOGUE.items()}

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value}' for name, value in self.shown().items())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(self.shown().items())


class Setting(NamedTuple):
    """
    One setting as documentation sees it: ``variables`` are its environment names, strongest first.

    ``type`` is that of a value; one that ``can_be_off`` is switched off with ``none``.
    """

    name: str
    type: Any
    can_be_off: bool
    default: Any
    sentence: str
    section: str
    variables: tuple[str, ...]
    secret: bool


def _catalogue() -> Iterator[Setting]:
    types = get_type_hints(Settings, include_extras=True)
    section = ""
    for field in msgspec.structs.fields(Settings):
        annotated = types[field.name]
        about: _About = annotated.__metadata__[0].extra["about"]
        section = about.section or section
        yield Setting(
            name=field.name,
            type=_bounded(annotated.__origin__, about.bounds),
            can_be_off=_is_optional(annotated.__origin__) and field.default is not None,
            default=field.default,
            sentence=about.sentence,
            section=section,
            variables=(PREFIX + (about.variable or field.name.upper()), *([about.plain] if about.plain else [])),
            secret=about.secret,
        )


def _is_optional(declared: Any) -> bool:
    return type(None) in get_args(declared)


def _bounded(declared: Any, bounds: dict[str, Any]) -> Any:
    """
    Put the limits onto the type itself: msgspec takes none on a union with None.
    """
    value_type = get_args(declared)[0] if _is_optional(declared) else declared
    return Annotated[value_type, msgspec.Meta(**bounds)]


#: Every setting by name, in the order of declaration.
CATALOGUE: dict[str, Setting] = {setting.name: setting for setting in _catalogue()}


def as_text(value: Any) -> str:
    """
    Write a value as an environment variable would hold it.
    """
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(setting: Setting, value: Any) -> str:
    text = as_text(value)
    if not setting.secret or not text:
        return text
    return re.sub(r"//[^/@]*@", f"//{_HIDDEN}@", text) if "://" in text else _HIDDEN
