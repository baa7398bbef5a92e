import ast
import re
from pathlib import Path

import pytest

from fraudstream.domain.errors import InvalidSettings
from fraudstream.settings import CATALOGUE, example, load, locate, resolve

ROOT = Path(__file__).resolve().parents[2]


def problems_of(environment: dict[str, str], **overrides: object) -> str:
    with pytest.raises(InvalidSettings) as caught:
        load(environment, overrides)
    return str(caught.value)


def test_an_empty_environment_gives_the_documented_defaults():
    settings = load({})

    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.groups == ("fraud-check",)
    assert settings.dedup_horizon_s == 3600
    assert settings.decision_deadline_ms == 250
    assert settings.alert_channels == ("console",)


def test_names_of_other_programs_and_empty_values_are_passed_over():
    settings = load({"PATH": "/bin", "REDIS_PASSWORD": "x", "FRAUDSTREAM_BATCH_ENTRIES": "  ", "REDIS_URL": ""})

    assert settings == load({})


def test_a_flag_wins_over_the_prefix_over_the_plain_name_over_the_file():
    file = {"redis_url": "redis://file"}
    plain = {"REDIS_URL": "redis://plain"}
    prefixed = plain | {"FRAUDSTREAM_REDIS_URL": "redis://prefixed"}

    urls = [
        load({}, file=file).redis_url,
        load(plain, file=file).redis_url,
        load(prefixed, file=file).redis_url,
        load(prefixed, {"redis_url": "redis://flag"}, file=file).redis_url,
        load(prefixed, {"redis_url": None}, file=file).redis_url,
    ]

    assert urls == ["redis://file", "redis://plain", "redis://prefixed", "redis://flag", "redis://prefixed"]


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("REDIS_URL", "redis_url"),
        ("POSTGRES_URL", "postgres_url"),
        ("ML_MODEL_PATH", "model_path"),
        ("CONSUMER_GROUP", "consumer_group"),
        ("CONSUMER_ID", "consumer_id"),
    ],
)
def test_the_five_plain_names_are_read(variable: str, field: str):
    value = {"redis_url": "rediss://cache:6380", "postgres_url": "postgresql://db/x", "consumer_group": "alerter"}.get(
        field, "here"
    )

    settings = load({variable: value})

    assert str(getattr(settings, field)) == value


def test_every_setting_is_read_from_its_variable():
    samples = {
        "redis_url": "redis://elsewhere",
        "postgres_url": "postgresql://db/x",
        "currency": "EUR",
        "time_zone": "Europe/Berlin",
    }
    samples |= {
        "consumer_group": "alerter",
        "log_level": "debug",
        "log_format": "json",
        "slack_base_url": "http://127.0.0.1:1/",
    }
    samples |= {"webhook_url": "http://127.0.0.1:2/", "alert_channels": "", "hard_idle_s": "99"}
    samples |= {"alert_quiet_hours": "22:00-08:00", "alert_case_url": "http://a/{alert_id}", "alert_runbook_url": "http://b/"}
    samples |= {"alert_overview_url": "http://c/", "alert_time_zone": "Europe/Berlin"}
    samples |= {"allow_no_persistence": "true", "smtp_starttls": "false", "smtp_tls": "tls"}
    samples |= {"memory_limit_ratio": "0.5", "smtp_port": "25"}

    for name, setting in CATALOGUE.items():
        alone = {"alert_fallback", "smtp_username", "redis_cert_file", "redis_key_file", "redis_ca_file", "alert_channels"}
        if name in alone:  # refused without a second setting; covered below
            continue
        current = setting.default if isinstance(setting.default, int | float) else None
        value = samples.get(name) or (str(current + 1) if current is not None else "elsewhere")
        settings = load({setting.variables[0]: value})
        assert getattr(settings, name) != setting.default, name


def test_fraud_group_is_both_deciding_groups_and_each_group_is_served_once():
    settings = load({}, {"consumer_group": "fraud-group, ml-scoring,alerter"})

    assert settings.groups == ("fraud-check", "ml-scoring", "alerter")


def test_all_problems_are_named_at_once():
    text = problems_of(
        {
            "FRAUDSTREAM_BATCH_ENTRY": "1",
            "FRAUDSTREAM_BATCH_ENTRIES": "many",
            "CONSUMER_GROUP": "recorder,fraudcheck",
            "FRAUDSTREAM_CURRENCY": "EUU",
            "FRAUDSTREAM_ALERT_CHANNELS": "slack,fax",
        },
        smtp_prot=25,
        memory_limit_ratio=1.5,
    )

    assert text.startswith("8 problems in the settings:")
    assert "FRAUDSTREAM_BATCH_ENTRY is unknown; did you mean FRAUDSTREAM_BATCH_ENTRIES?" in text
    assert "FRAUDSTREAM_BATCH_ENTRIES is 'many': Expected int" in text
    assert (
        "consumer_group 'fraudcheck' is unknown; known are fraud-check, ml-scoring, recorder, alerter, labels, fraud-group"
        in text
    )
    assert "group recorder needs POSTGRES_URL" in text
    assert "currency 'EUU' is no ISO 4217 code; did you mean" in text
    assert "Invalid enum value 'fax'" in text
    assert "smtp_prot among the options is unknown; did you mean smtp_port?" in text
    assert "option memory_limit_ratio is 1.5: Expected float <= 1.0" in text


def test_an_unknown_name_in_the_file_is_refused():
    with pytest.raises(InvalidSettings, match="batch_entires in the settings file is unknown; did you mean batch_entries"):
        load({}, file={"batch_entires": 3})


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"alert_channels": "slack"}, "slack needs FRAUDSTREAM_SLACK_BOT_TOKEN"),
        ({"alert_channels": "email", "smtp_host": "mail", "smtp_from": "a@example.com"}, "email needs FRAUDSTREAM_SMTP_TO"),
        ({"alert_channels": "webhook"}, "webhook needs FRAUDSTREAM_WEBHOOK_URL"),
        ({"smtp_username": "u"}, "without smtp_password"),
        ({"smtp_password": "p", "smtp_starttls": False}, "would travel in clear"),
        ({"smtp_password": "p", "smtp_tls": "none"}, "would travel in clear"),
        ({"alert_fallback": "email"}, "alert_fallback email needs FRAUDSTREAM_SMTP_HOST"),
        ({"alert_quiet_hours": "25:00-08:00"}, "alert_quiet_hours"),
        ({"alert_time_zone": "Mars/Olympus"}, "'Mars/Olympus' is no time zone"),
        ({"alert_time_zone": "../etc/passwd"}, "is no time zone"),
        ({"redis_ca_file": "ca.pem"}, "does not begin with rediss://"),
        ({"redis_url": "rediss://r", "redis_key_file": "k.pem"}, "must be set together"),
        ({"claim_idle_s": 5}, "heartbeat_life_s must not be longer"),
        ({"redis_url": "http://r"}, "option redis_url"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, object], complaint: str):
    assert complaint in problems_of({}, **settings)


def test_an_unreadable_value_is_not_reported_a_second_time_as_a_misfit():
    text = problems_of({"FRAUDSTREAM_HARD_IDLE_S": "long", "FRAUDSTREAM_CLAIM_IDLE_S": "301"})

    assert text.startswith("1 problem in the settings:")


def test_metrics_can_be_off_or_on_a_free_port():
    assert load({"FRAUDSTREAM_METRICS_PORT": "none"}).metrics_port is None
    assert load({}, {"metrics_port": 0}).metrics_port == 0
    assert load({"CONSUMER_ID": "none"}).consumer_id == "none"


def test_a_secret_is_read_from_a_file(tmp_path: Path):
    secret = tmp_path / "url"
    secret.write_text("postgresql://u:p@db/fraud\n")

    settings = load({"POSTGRES_URL_FILE": str(secret)})

    assert settings.postgres_url == "postgresql://u:p@db/fraud"


def test_a_secret_given_twice_or_in_a_missing_file_is_refused(tmp_path: Path):
    text = problems_of(
        {
            "FRAUDSTREAM_WEBHOOK_SECRET": "x",
            "FRAUDSTREAM_WEBHOOK_SECRET_FILE": __file__,
            "FRAUDSTREAM_SMTP_PASSWORD_FILE": str(tmp_path / "gone"),
        }
    )

    assert "FRAUDSTREAM_WEBHOOK_SECRET and FRAUDSTREAM_WEBHOOK_SECRET_FILE are both set" in text
    assert "FRAUDSTREAM_SMTP_PASSWORD_FILE names" in text


def test_only_secrets_may_stand_in_a_file():
    assert "FRAUDSTREAM_SMTP_HOST_FILE is unknown" in problems_of({"FRAUDSTREAM_SMTP_HOST_FILE": __file__})


def test_secrets_are_never_shown():
    settings = load(
        {"POSTGRES_URL": "postgresql://u:hunter2@db/fraud?sslmode=require", "REDIS_URL": "rediss://:hunter2@r:6380/1"},
        {"slack_bot_token": "xoxb-hunter2", "smtp_password": "hunter2", "webhook_secret": "hunter2"},
    )

    assert "hunter2" not in repr(settings) + str(settings.shown()) + str(settings.__rich_repr__())
    assert settings.shown()["postgres_url"] == "postgresql://****@db/fraud?sslmode=require"
    assert settings.shown()["slack_bot_token"] == "****"


def test_a_refused_secret_is_not_repeated_in_the_complaint():
    text = problems_of({"POSTGRES_URL": "mysql://u:hunter2@db/fraud"})

    assert "POSTGRES_URL" in text
    assert "hunter2" not in text


def test_the_origin_of_each_value_is_known():
    origins = resolve({"CONSUMER_ID": "a"}, {"block_ms": 10}, {"currency": "EUR"}).origins

    assert origins == {
        "consumer_id": "CONSUMER_ID",
        "block_ms": "option block_ms",
        "currency": "currency in the settings file",
    }


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_setting_has_a_sentence_and_a_section(name: str):
    setting = CATALOGUE[name]

    assert setting.sentence[0].isupper()
    assert setting.sentence.endswith(".")
    assert setting.section


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_number_carries_its_unit_in_the_name(name: str):
    setting = CATALOGUE[name]
    units = ("_s", "_ms", "_entries", "_ratio", "_port", "_deliveries", "_in_hand", "_groups", "_major", "partitions")

    assert isinstance(setting.default, bool) or not isinstance(setting.default, int | float) or name.endswith(units)


def test_env_example_is_what_the_settings_say():
    """
    Mend it with: .venv/bin/python -c 'from fraudstream.settings import example; print(example(), end="")' > .env.example
    """
    assert (ROOT / ".env.example").read_text() == example()


def test_env_example_without_its_comment_marks_is_accepted():
    lines = [line.removeprefix("#") for line in example().splitlines() if "=" in line and not line.startswith("# ")]
    environment = dict(line.split("=", 1) for line in lines)

    assert load(environment) == load({})


def test_shipped_files_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    found = locate(Path("pyproject.toml"))
    (tmp_path / "pyproject.toml").touch()

    assert found == ROOT / "pyproject.toml"
    assert locate(Path("pyproject.toml")) == Path("pyproject.toml")
    assert locate(Path("models/absent.onnx")) == Path("models/absent.onnx")


@pytest.mark.parametrize("name", CATALOGUE)
def test_no_setting_is_without_effect(name: str):
    places = [*(ROOT / "fraudstream").rglob("*.py"), *(ROOT / "tests" / "support").glob("*.py"), ROOT / ".ci" / "run"]
    code = "\n".join(path.read_text() for path in places if "settings" not in path.parts)

    attribute = {"consumer_group": "groups"}.get(name, name)
    assert re.search(rf"settings\.{attribute}\b|{CATALOGUE[name].variables[0]}\b", code)


def test_settings_never_look_at_the_environment_themselves():
    for module in (ROOT / "fraudstream" / "settings").glob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Attribute)}
        assert not names & {"environ", "getenv"}, module
