"""
``fraudstream token``: the value comes by standard input, the key by a file.
"""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fraudstream.cli.main import app
from fraudstream.domain.tokens import Tokens

KEY = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("kind", "value"), [("card", "4111 1111 1111 1111"), ("email", "jane@example.com"), ("phone", "+33 612345678")]
)
def test_a_token_is_that_of_the_workers(kind: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")

    done = CliRunner().invoke(
        app,
        ["token", kind],
        input=f"{value}\n",
        env={"FRAUDSTREAM_TOKEN_KEY_FILE": str(tmp_path / "key"), "FRAUDSTREAM_TOKEN_KEY": None},
    )

    assert done.output.strip() == getattr(Tokens(KEY.encode()), kind)(value)


@pytest.mark.parametrize(("key", "given", "code"), [("short", "x", 3), (KEY, "", 2)])
def test_without_a_good_key_or_a_value_there_is_no_token(key: str, given: str, code: int) -> None:
    done = CliRunner().invoke(
        app, ["token", "card"], input=given, env={"FRAUDSTREAM_TOKEN_KEY": key, "FRAUDSTREAM_TOKEN_KEY_FILE": None}
    )

    assert done.exit_code == code
