"""
``fraudstream model`` on a registry and a Redis: what a person types, reads and is refused.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fraudstream.cli.main import app
from fraudstream.local import LocalValkey
from tests.support.models import a_rival
from tests.support.system import shipped_features


class Shell:
    """
    Types commands with one registry and one Redis.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._environment = {
            "REDIS_URL": url,
            "FRAUDSTREAM_MODEL_REGISTRY": str(folder / "registry"),
            "FRAUDSTREAM_ACTOR": "ana",
        }

    def __call__(self, *words: str | Path, code: int = 0) -> str:
        found = CliRunner().invoke(app, ["model", *map(str, words)], env=self._environment)
        assert found.exit_code == code, found.output
        return found.output

    def told(self, *words: str | Path):  # type: ignore[no-untyped-def]
        return json.loads(self(*words, "--json"))["data"]


@pytest.fixture
def shell(valkey: LocalValkey, tmp_path: Path) -> Shell:
    return Shell(valkey.url, tmp_path)


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_rival(tmp_path_factory.mktemp("rival") / "model", shipped_features(), version="june-2")


def test_a_model_goes_from_a_folder_to_the_fleet_and_back(shell: Shell, rival: Path) -> None:
    pushed = shell.told("push", rival, "--reason", "trained on June")["pushed"]
    said = shell("promote", "june-2", "--reason", "better")
    listed = shell.told("list")
    back = shell.told("rollback", "--reason", "worse")
    history = shell("history")

    assert f"champion {pushed['model'][:12]} (change 1, promote by ana)" in said
    assert [(one["version"], one["role"], one["problem"]) for one in listed["models"]] == [("june-2", "champion", "")]
    assert (back["champion"], back["seq"]) == ("", 2)
    assert history.index("rollback") < history.index("promote") < history.index("push")
    assert "worse" in history


def test_a_canary_and_a_shadow_come_and_go(shell: Shell, rival: Path) -> None:
    shell("push", rival, "--reason", "why")
    canary = shell("canary", "june-2", "--share", "0.1", "--reason", "trial")
    shadow = shell.told("shadow", "june-2", "--reason", "watch")
    shell("canary", "--off", "--reason", "enough")
    shell("shadow", "june-2", "--off", "--reason", "enough")

    assert "for 0.1" in canary
    assert len(shadow["shadows"]) == 1
    in_use = shell.told("list")["in_use"]
    assert (in_use["canary"], in_use["shadows"], in_use["seq"]) == ("", [], 4)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("promote", "nobody", "--reason", "x"), 1, "no model is 'nobody'"),
        (("rollback", "--reason", "x"), 6, "nothing to roll back"),
        (("canary", "--off", "--reason", "x"), 6, "there is no canary"),
        (("canary", "--reason", "x"), 2, "name a model, or give --off"),
        (("shadow-report", "nobody"), 1, "no model is 'nobody'"),
        (("push", "/nowhere", "--reason", "x"), 1, "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(shell: Shell, words: tuple[str, ...], code: int, said: str) -> None:
    assert said in shell(*words, code=code)


def test_a_url_is_a_registry_too(shell: Shell, rival: Path, tmp_path: Path) -> None:
    place = f"file://{tmp_path}/objects"
    shell("push", rival, "--reason", "why", "--registry", place)

    said = shell("promote", "june-2", "--reason", "why", code=1)

    assert "cannot be read from the registry" in said, "the other registry does not hold it"
    shell("promote", "june-2", "--reason", "why", "--registry", place)
