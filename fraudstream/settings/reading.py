"""
How settings are read: who wins, what is refused, and that every problem is named at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from fraudstream.domain.errors import InvalidSettings
from fraudstream.settings.checks import did_you_mean, misfits
from fraudstream.settings.declared import CATALOGUE, PREFIX, Setting, Settings


class Resolved(NamedTuple):
    """
    The settings, and where each value that is not a default came from, in words.
    """

    settings: Settings
    origins: Mapping[str, str]


def load(
    environment: Mapping[str, str], overrides: Mapping[str, Any] | None = None, file: Mapping[str, Any] | None = None
) -> Settings:
    """
    Read the settings, as ``resolve`` does, without the origins.
    """
    return resolve(environment, overrides, file).settings


def resolve(
    environment: Mapping[str, str], overrides: Mapping[str, Any] | None = None, file: Mapping[str, Any] | None = None
) -> Resolved:
    """
    Read the settings: overrides win over ``FRAUDSTREAM_*``, then the five plain names, then the file, then the defaults.

    An empty variable counts as not set, and so does an override that is None. A secret may stand in a file whose path is given
    by its name with ``_FILE`` behind it; the line end at its end is dropped.

    Args:
        environment: As ``os.environ``; names that are not ours are passed over.
        overrides: Values by field name, from the command line.
        file: Values by field name, the content of a TOML file.

    Raises:
        InvalidSettings: Names every problem found: unknown names, values out of range, settings that need each other.
    """
    problems: list[str] = []
    found = _found(environment, overrides or {}, file or {}, problems)
    values = {}
    for name, (value, origin) in found.items():
        try:
            values[name] = _converted(CATALOGUE[name], value)
        except msgspec.ValidationError as error:
            problems.append(f"{origin}{_quoted(CATALOGUE[name], value)}: {_plain_words(error)}. {CATALOGUE[name].sentence}")
    settings = Settings(**values)
    # A setting that could not be read would make its neighbours look wrong as well.
    problems += [text for text, names in misfits(settings) if not (set(names) & (found.keys() - values.keys()))]
    if problems:
        raise InvalidSettings(_report(problems))
    return Resolved(settings, {name: origin for name, (_, origin) in found.items()})


def _found(
    environment: Mapping[str, str], overrides: Mapping[str, Any], file: Mapping[str, Any], problems: list[str]
) -> dict[str, tuple[Any, str]]:
    """
    Return the strongest value of each setting with its origin; what cannot be a setting goes to ``problems``.
    """
    given = {name: value for name, value in environment.items() if value.strip()}
    problems += _unknown(given, overrides, file)
    found: dict[str, tuple[Any, str]] = {}
    for name, setting in CATALOGUE.items():
        if overrides.get(name) is not None:
            found[name] = overrides[name], f"option {name}"
        elif (value := _from_environment(setting, given, problems)) is not None:
            found[name] = value
        elif name in file:
            found[name] = file[name], f"{name} in the settings file"
    return found


def _unknown(given: Mapping[str, str], overrides: Mapping[str, Any], file: Mapping[str, Any]) -> Iterator[str]:
    """
    Yield a sentence for each name that is no setting.
    """
    for where, names in (("in the settings file", file), ("among the options", overrides)):
        for name in sorted(names.keys() - CATALOGUE.keys()):
            yield f"{name} {where} is unknown{did_you_mean(name, CATALOGUE)}"
    known = {variable for setting in CATALOGUE.values() for variable in _all_variables(setting)}
    for variable in sorted(name for name in given if name.startswith(PREFIX) and name not in known):
        yield f"{variable} is unknown{did_you_mean(variable, known)}"


def _all_variables(setting: Setting) -> Iterator[str]:
    yield from setting.variables
    if setting.secret:
        yield from (f"{variable}_FILE" for variable in setting.variables)


def _from_environment(setting: Setting, given: Mapping[str, str], problems: list[str]) -> tuple[str, str] | None:
    """
    Return value and origin of the strongest variable of a setting, None when none is set.
    """
    for variable in setting.variables:
        by_file = f"{variable}_FILE"
        if setting.secret and by_file in given:
            if variable in given:
                problems.append(f"{variable} and {by_file} are both set; keep one")
            try:
                return Path(given[by_file]).read_text(encoding="utf-8").rstrip("\r\n"), by_file
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{by_file} names {given[by_file]!r}, which cannot be read: {error}")
                return None
        if variable in given:
            return given[variable].strip(), variable
    return None


def _converted(setting: Setting, value: Any) -> Any:
    """
    Turn a value as written into the type of its setting.

    Raises:
        msgspec.ValidationError: It does not fit.
    """
    if value == "none" and setting.can_be_off:
        return None
    if isinstance(value, str) and isinstance(setting.default, tuple):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return msgspec.convert(value, setting.type, strict=False, dec_hook=_path)


def _path(kind: type, value: Any) -> Path:
    if kind is not Path or not isinstance(value, str):
        raise msgspec.ValidationError("expected a path")
    return Path(value).expanduser()


def _quoted(setting: Setting, value: Any) -> str:
    return "" if setting.secret else f" is {value!r}"


def _plain_words(error: msgspec.ValidationError) -> str:
    return str(error).replace("`", "").removesuffix(" - at $")


def _report(problems: Sequence[str]) -> str:
    head = "1 problem in the settings:" if len(problems) == 1 else f"{len(problems)} problems in the settings:"
    return "\n".join([head, *(f"  - {problem}" for problem in problems)])
