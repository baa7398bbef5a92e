"""
Which column of a foreign file is which field of the wire, and which one is the truth; three mappings ship, others are files.
"""

import json
import tomllib
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fraudstream.domain.errors import InvalidSource

#: Fields of the wire that hold money in major units.
MONEY = frozenset(("amount", "balance_before", "balance_after", "counterparty_balance_before", "counterparty_balance_after"))
#: Fields of the wire that hold degrees.
DEGREES = frozenset(("latitude", "longitude"))
#: All fields of the wire; DESIGN names them an interface.
WIRE_FIELDS = (
    *(
        "transaction_id",
        "amount",
        "timestamp",
        "currency",
        "user_id",
        "card_id",
        "merchant",
        "merchant_id",
        "merchant_category",
    ),
    *("device_id", "ip", "email", "country", "latitude", "longitude", "channel", "type", "counterparty_id", "balance_before"),
    *("balance_after", "counterparty_balance_before", "counterparty_balance_after", "metadata"),
)
#: Columns that are taken for the truth in files of our own format, in lower case; they never enter a body.
TRUTH_COLUMNS = ("fraud", "is_fraud", "isfraud", "label")
#: The column beside it that names the scenario.
SCENARIO_COLUMN = "scenario"
_REQUIRED = ("transaction_id", "amount", "timestamp")


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    How one field of the wire is made of a row. Exactly one of ``column``, ``constant`` and ``row_number`` is its source.

    ``words`` replaces values that it lists, ``starting`` takes only values that begin so, ``prefix`` is put in front; ``scale``
    multiplies a number (0.01 for cents). A time may count from ``start`` in units of ``unit_s`` seconds, or be without an
    offset that ``assume_utc`` supplies. ``token`` replaces a card number by its keyed hash.
    """

    column: str = ""
    constant: str | int | float | None = None
    row_number: bool = False
    words: dict[str, str] = {}
    starting: str = ""
    prefix: str = ""
    scale: float | None = None
    start: datetime | None = None
    unit_s: float = 1.0
    assume_utc: bool = False
    token: bool = False


class Truth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Which column says what was fraud: a number above ``above``, or one of ``words`` (in any case); ``scenario`` names a column
    whose value is kept beside it. An empty value is no label.
    """

    column: str
    above: float | None = None
    words: tuple[str, ...] = ("1", "true", "yes", "y", "fraud")
    scenario: str = ""


class ColumnMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    How a file's rows become transactions. ``rest`` says whether columns that are not named go along under their own names.
    """

    name: str
    fields: dict[str, Field]
    truth: Truth | None = None
    rest: bool = False

    def columns(self) -> frozenset[str]:
        """
        Name every column that a file must have.
        """
        named = {field.column for field in self.fields.values()}
        if self.truth is not None:
            named |= {self.truth.column, self.truth.scenario}
        return frozenset(named - {""})


#: PaySim counts hours from an unnamed day; this one is ours, so that its 31 days lie in the past.
PAYSIM_START = datetime(2017, 1, 1, tzinfo=UTC)
#: The first second of the Fraud Detection Handbook's data, by its authors.
HANDBOOK_START = datetime(2018, 4, 1, tzinfo=UTC)

PAYSIM = ColumnMapping(
    name="paysim",
    fields={
        "transaction_id": Field(row_number=True, prefix="paysim_"),
        "amount": Field(column="amount"),
        "timestamp": Field(column="step", start=PAYSIM_START, unit_s=3600),
        "type": Field(column="type"),
        "user_id": Field(column="nameOrig"),
        "card_id": Field(column="nameOrig"),
        "counterparty_id": Field(column="nameDest"),
        "merchant": Field(column="nameDest", starting="M"),
        "balance_before": Field(column="oldbalanceOrg"),
        "balance_after": Field(column="newbalanceOrig"),
        "counterparty_balance_before": Field(column="oldbalanceDest"),
        "counterparty_balance_after": Field(column="newbalanceDest"),
    },
    truth=Truth(column="isFraud", above=0),
)
HANDBOOK = ColumnMapping(
    name="handbook",
    fields={
        "transaction_id": Field(column="TRANSACTION_ID"),
        "amount": Field(column="TX_AMOUNT_CENTS", scale=0.01),
        "timestamp": Field(column="TX_TIME_SECONDS", start=HANDBOOK_START),
        "card_id": Field(column="CUSTOMER_ID"),
        "user_id": Field(column="CUSTOMER_ID"),
        "merchant": Field(column="TERMINAL_ID"),
    },
    truth=Truth(column="TX_FRAUD_SCENARIO", above=0, scenario="TX_FRAUD_SCENARIO"),
)
SHIPPED = {mapping.name: mapping for mapping in (PAYSIM, HANDBOOK)}


def generic(columns: Collection[str]) -> ColumnMapping:
    """
    Return the mapping of a file whose columns carry our own names; others go along as metadata, the truth does not.
    """
    truth = next((column for column in columns if column.lower() in TRUTH_COLUMNS), None)
    scenario = SCENARIO_COLUMN if SCENARIO_COLUMN in columns and truth is not None else ""
    fields = {name: Field(column=name) for name in WIRE_FIELDS if name in columns}
    return ColumnMapping(
        name="generic", fields=fields, truth=Truth(column=truth, scenario=scenario) if truth else None, rest=True
    )


def detect(columns: Collection[str], file: str) -> ColumnMapping:
    """
    Choose a mapping by the columns of a file.

    Raises:
        InvalidSource: No mapping knows these columns.
    """
    for mapping in SHIPPED.values():
        if mapping.columns() <= set(columns):
            return mapping
    if set(_REQUIRED) <= set(columns):
        return generic(columns)
    raise InvalidSource(
        f"{file}: no mapping knows the columns {', '.join(columns) or '(none)'}; name them {', '.join(_REQUIRED)} … or give a"
        " mapping file"
    )


def choose(name: str, columns: Collection[str], file: str) -> ColumnMapping:
    """
    Return the mapping of a name (``generic``, ``paysim``, ``handbook``) or of a mapping file, checked against a file's columns.

    Raises:
        InvalidSource: There is no such mapping, or the file lacks columns that it needs.
    """
    if name == "generic":
        mapping = generic(columns)
        missing = sorted(set(_REQUIRED) - set(columns))
    else:
        mapping = SHIPPED[name] if name in SHIPPED else load_mapping(Path(name))
        missing = sorted(mapping.columns() - set(columns))
    if missing:
        raise InvalidSource(f"{file}: mapping '{mapping.name}' needs the columns {', '.join(missing)}, which are not there")
    return mapping


class _MappingFile(msgspec.Struct, forbid_unknown_fields=True):
    """
    A mapping as people write it: a bare string is a column.
    """

    fields: dict[str, str | Field]
    truth: str | Truth | None = None
    rest: bool = False


def load_mapping(path: Path) -> ColumnMapping:
    """
    Read a mapping from a TOML or JSON file.

    Raises:
        InvalidSource: It cannot be read, or says something that no mapping can do; all problems are named.
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        written = msgspec.convert(raw, _MappingFile)
    except OSError as exc:
        known = ", ".join(("generic", *SHIPPED))
        raise InvalidSource(f"mapping '{path}' is none of {known} and no file that can be read ({exc.strerror})") from None
    except (ValueError, msgspec.ValidationError) as exc:
        raise InvalidSource(f"mapping {path}: {exc}") from None
    fields = {name: Field(column=field) if isinstance(field, str) else field for name, field in written.fields.items()}
    truth = Truth(column=written.truth) if isinstance(written.truth, str) else written.truth
    if problems := _problems(fields):
        raise InvalidSource(f"mapping {path}: " + "; ".join(problems))
    return ColumnMapping(name=path.stem, fields=fields, truth=truth, rest=written.rest)


def _problems(fields: dict[str, Field]) -> list[str]:
    found = [f"field '{name}' is missing" for name in _REQUIRED if name not in fields]
    for name, field in fields.items():
        if name not in WIRE_FIELDS:
            found.append(f"'{name}' is no field of a transaction")
        if sum((field.column != "", field.constant is not None, field.row_number)) != 1:
            found.append(f"field '{name}' needs one of column, constant and row_number")
        if field.scale is not None and name not in MONEY | DEGREES:
            found.append(f"field '{name}' is no number and cannot be scaled")
        if (field.start is not None or field.assume_utc) and name != "timestamp":
            found.append(f"field '{name}' is no time: start and assume_utc belong to timestamp")
        if field.start is not None and field.start.tzinfo is None:
            found.append(f"start of field '{name}' has no offset from UTC; add one, or Z")
        if not field.unit_s > 0:
            found.append(f"unit_s of field '{name}' must be above 0")
    return found
