import csv
import gzip
import io
import itertools
import json
import os
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraudstream.domain.errors import InvalidSource
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.producers.files import BadRow, read_file
from fraudstream.producers.json_lines import MAX_LINE_BYTES
from fraudstream.producers.labelled import Labelled

_GENERIC = "transaction_id,amount,timestamp,card_id,merchant,fraud,colour\n"
_PAYSIM = (
    "step,type,amount,nameOrig,oldbalanceOrg,newbalanceOrig,nameDest,oldbalanceDest,newbalanceDest,isFraud,isFlaggedFraud\n"
    "1,PAYMENT,9839.64,C1231006815,170136.0,160296.36,M1979787155,0.0,0.0,0,0\n"
    "2,TRANSFER,181.0,C1305486145,181.0,0.0,C553264065,0.0,0.0,1,0\n"
)


def _decoded(labelled: Labelled) -> Transaction:
    return parse_transaction(labelled.body, now_ms=4_000_000_000_000, default_currency="USD")


def _written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def _handbook(path: Path, rows: list[tuple[int, ...]]) -> Path:
    names = ("TRANSACTION_ID", "TX_TIME_SECONDS", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT_CENTS", "TX_FRAUD_SCENARIO")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path)
    return path


def test_a_csv_file_with_our_names_needs_no_mapping(tmp_path: Path) -> None:
    file = _written(tmp_path / "a.csv", _GENERIC + "txn_1,12.50,1747000000,card_1,Example Shop,1,blue\n")

    [labelled] = read_file(file)

    row = _decoded(labelled)
    assert (row.transaction_id, row.amount_minor, row.card_id, row.merchant) == ("txn_1", 1250, "card_1", "Example Shop")
    assert (labelled.transaction_id, labelled.occurred_at_ms, labelled.fraud) == ("txn_1", 1747000000000, True)


def test_the_truth_stays_out_of_the_body_and_other_columns_become_metadata(tmp_path: Path) -> None:
    file = _written(tmp_path / "a.csv", _GENERIC + "txn_1,12.50,1747000000,,,1,blue\n")

    [labelled] = read_file(file)

    assert json.loads(labelled.body) == {
        "transaction_id": "txn_1",
        "amount": "12.50",
        "timestamp": 1747000000,
        "colour": "blue",
    }


@pytest.mark.parametrize(
    ("word", "fraud"),
    [("1", True), ("0", False), ("True", True), ("legitimate", False), ("fraud", True), ("", None), ("unsure", None)],
)
def test_labels_are_read_in_many_words_and_an_empty_one_is_none(tmp_path: Path, word: str, fraud: bool | None) -> None:
    file = _written(tmp_path / "a.csv", f"transaction_id,amount,timestamp,label\ntxn_1,1,1747000000,{word}\n")

    [labelled] = read_file(file)

    assert labelled.fraud is fraud


@pytest.mark.parametrize(
    ("written", "occurred_at_ms"),
    [
        ("1747000000", 1747000000000),
        ("1747000000.25", 1747000000250),
        ("1747000000250", 1747000000250),
        ("2025-05-11T21:46:40Z", 1747000000000),
        ("2025-05-11 23:46:40+02:00", 1747000000000),
    ],
)
def test_times_are_read_as_the_fleet_reads_them(tmp_path: Path, written: str, occurred_at_ms: int) -> None:
    file = _written(tmp_path / "a.csv", f"transaction_id,amount,timestamp\ntxn_1,1,{written}\n")

    [labelled] = read_file(file)

    assert labelled.occurred_at_ms == _decoded(labelled).occurred_at_ms == occurred_at_ms


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_a_byte_order_mark_are_understood(tmp_path: Path, separator: str) -> None:
    rows = [["transaction_id", "amount", "timestamp", "merchant"], ["txn_1", "1.00", "1747000000", 'The "Shop", Inc']]
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(rows)
    file = _written(tmp_path / "a.csv", b"\xef\xbb\xbf" + text.getvalue().encode())

    [labelled] = read_file(file)

    assert _decoded(labelled).merchant == 'The "Shop", Inc'


def test_bad_rows_are_named_by_file_line_and_reason_and_stop_nobody_else(tmp_path: Path) -> None:
    good = "txn_{},1,1747000000,c,m,0,\n"
    lines = [
        good.format(1),
        "txn_2,much,1747000000,c,m,0,\n",
        "txn_3,1,1747000000\n",
        "\n",
        "txn_4,1,yesterday,c,m,0,\n",
        ",1,1747000000,c,m,0,\n",
        "txn_5,1,1747000000,c,\udcff,0,\n",
        "txn_6,nan,1747000000,c,m,0,\n",
        good.format(7),
    ]
    file = _written(tmp_path / "a.csv", (_GENERIC + "".join(lines)).encode(errors="surrogateescape"))
    bad: list[BadRow] = []

    rows = list(read_file(file, on_bad=bad.append))

    assert [row.transaction_id for row in rows] == ["txn_1", "txn_7"]
    assert bad == [
        (str(file), 3, "column 'amount': this is no number"),
        (str(file), 4, "the row has 3 values, the header has 7"),
        (str(file), 6, "column 'timestamp': 'timestamp' is neither a number nor RFC 3339"),
        (str(file), 7, "there is no value for 'transaction_id'"),
        (str(file), 8, "column 'merchant' is not UTF-8"),
        (str(file), 9, "column 'amount': this is no amount that could be paid"),
    ]


def test_a_quoted_line_break_does_not_shift_the_line_numbers(tmp_path: Path) -> None:
    text = _GENERIC + 'txn_1,1,1747000000,c,"two\nlines",0,\ntxn_2,x,1747000000,c,m,0,\n'
    bad: list[BadRow] = []

    rows = list(read_file(_written(tmp_path / "a.csv", text), on_bad=bad.append))

    assert [row.transaction_id for row in rows] == ["txn_1"]
    assert [row.line for row in bad] == [4]


def test_without_anybody_to_tell_a_bad_row_ends_the_reading(tmp_path: Path) -> None:
    file = _written(tmp_path / "a.csv", _GENERIC + "txn_1,much,1747000000,c,m,0,\n")

    with pytest.raises(InvalidSource, match=r"a\.csv, line 2: column 'amount'"):
        list(read_file(file))


def test_no_reason_repeats_a_value(tmp_path: Path) -> None:
    bad: list[BadRow] = []

    list(read_file(_written(tmp_path / "a.csv", _GENERIC + "txn_1,4111111111111111x,secret,c,m,0,\n"), on_bad=bad.append))

    assert "4111" not in bad[0].reason


def test_json_lines_are_passed_on_byte_for_byte(tmp_path: Path) -> None:
    lines = [
        b'{"timestamp": 1747000000,  "amount":1.50, "transaction_id": "txn_1", "extra": [1, 2]}',
        b'{"broken": ',
        b'{"transaction_id":"\xff"}',
        b"[1]",
    ]

    rows = list(read_file(_written(tmp_path / "a.jsonl", b"\n\n".join(lines) + b"\r\n")))

    assert [row.body for row in rows] == lines
    assert [row.transaction_id for row in rows] == ["txn_1", "", "", ""]
    assert rows[0].occurred_at_ms == 1747000000000


def test_a_truth_inside_json_lines_is_taken_out(tmp_path: Path) -> None:
    line = b'{"transaction_id":"txn_1","amount":1,"timestamp":1747000000,"is_fraud":true,"scenario":"mule"}'

    [labelled] = read_file(_written(tmp_path / "a.jsonl", line))

    assert labelled.body == b'{"transaction_id":"txn_1","amount":1,"timestamp":1747000000}'
    assert (labelled.fraud, labelled.scenario) == (True, "mule")


def test_json_lines_of_another_shape_are_mapped(tmp_path: Path) -> None:
    mapping = _written(
        tmp_path / "bank.json", json.dumps({"fields": {"transaction_id": "id", "amount": "sum", "timestamp": "at"}})
    )
    file = _written(tmp_path / "a.jsonl", '{"id":7,"sum":2.5,"at":1747000000}\nnonsense\n{"id":8,"sum":2.5,"at":1747000000}\n')
    bad: list[BadRow] = []

    rows = list(read_file(file, str(mapping), on_bad=bad.append))

    assert [(row.transaction_id, _decoded(row).amount_minor) for row in rows] == [("7", 250), ("8", 250)]
    assert bad == [(str(file), 2, "this is no JSON object")]


def test_a_line_without_end_is_left_out_and_the_next_one_is_read(tmp_path: Path) -> None:
    file = _written(tmp_path / "a.jsonl", b"{" + b" " * (2 * MAX_LINE_BYTES) + b"}\n" + b'{"transaction_id":"txn_1"}\n')
    bad: list[BadRow] = []

    rows = list(read_file(file, on_bad=bad.append))

    assert [row.transaction_id for row in rows] == ["txn_1"]
    assert [row.line for row in bad] == [1]


@pytest.mark.parametrize("name", ["a.csv.gz", "renamed.csv"])
def test_gzip_is_known_by_its_bytes(tmp_path: Path, name: str) -> None:
    file = _written(tmp_path / name, gzip.compress(_PAYSIM.encode()))

    assert len(list(read_file(file))) == 2


def test_a_torn_gzip_file_ends_with_what_was_read_and_an_error(tmp_path: Path) -> None:
    text = _GENERIC + "".join(f"txn_{number},1,1747000000,c,m,0,{os.urandom(8).hex()}\n" for number in range(50_000))
    file = _written(tmp_path / "a.csv.gz", gzip.compress(text.encode())[:-1000])
    rows: list[Labelled] = []

    with pytest.raises(InvalidSource, match="compressed data is damaged"):
        rows.extend(read_file(file))

    assert len(list(itertools.islice(read_file(file), 1_000))) == 1_000


def test_standard_input_is_read_like_a_file() -> None:
    pipe = io.BytesIO(gzip.compress(_PAYSIM.encode()))

    rows = list(read_file("-", stdin=pipe))

    assert [row.transaction_id for row in rows] == ["paysim_1", "paysim_2"]


def test_an_empty_input_holds_nothing() -> None:
    assert list(read_file("-", stdin=io.BytesIO(b""))) == []


def test_paysim_is_detected_and_mapped(tmp_path: Path) -> None:
    payment, transfer = read_file(_written(tmp_path / "paysim.csv", _PAYSIM))

    row = _decoded(payment)
    assert (row.user_id, row.card_id, row.merchant, row.counterparty_id) == (*["C1231006815"] * 2, *["M1979787155"] * 2)
    assert (row.amount_minor, row.balance_before_minor, row.balance_after_minor) == (983964, 17013600, 16029636)
    assert (payment.fraud, transfer.fraud) == (False, True)
    assert _decoded(transfer).merchant is None
    assert _decoded(transfer).type == "TRANSFER"
    assert datetime.fromtimestamp(transfer.occurred_at_ms / 1000, UTC) == datetime(2017, 1, 1, 2, tzinfo=UTC)
    assert b"lagged" not in payment.body
    assert b"raud" not in payment.body


def test_the_handbook_is_detected_and_mapped(tmp_path: Path) -> None:
    file = _handbook(tmp_path / "transactions.parquet", [(0, 31, 596, 3156, 5716, 0), (1, 86_400, 4961, 3412, 8100, 2)])

    first, second = read_file(file)

    row = _decoded(first)
    assert (row.transaction_id, row.card_id, row.user_id, row.merchant) == ("0", "596", "596", "3156")
    assert row.amount_minor == 5716
    assert (first.fraud, second.fraud, second.scenario) == (False, True, "2")
    assert datetime.fromtimestamp(first.occurred_at_ms / 1000, UTC) == datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC)
    assert b"SCENARIO" not in second.body


def test_parquet_keeps_times_decimals_and_absences(tmp_path: Path) -> None:
    moment = datetime(2025, 5, 11, 21, 46, 40, 250_000, tzinfo=UTC)
    table: dict[str, list[Any]] = {
        "transaction_id": [1, 2],
        "amount": [12.5, 0.1],
        "timestamp": [moment, moment],
        "card_id": [7.0, float("nan")],
        "latitude": [52.5, None],
        "note": [None, "x"],
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")

    first, second = map(_decoded, read_file(tmp_path / "a.parquet"))

    assert (first.amount_minor, first.occurred_at_ms, first.card_id, first.latitude) == (1250, 1747000000250, "7", 52.5)
    assert (second.card_id, second.latitude, second.metadata) == (None, None, {"note": "x"})


def test_a_parquet_time_without_offset_is_refused_unless_the_mapping_knows_it(tmp_path: Path) -> None:
    table = {"transaction_id": ["a"], "amount": [1], "timestamp": [datetime(2025, 5, 11, 21, 46, 40)]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    text = """
        [fields]
        transaction_id = "transaction_id"
        amount = "amount"
        timestamp = { column = "timestamp", assume_utc = true }
    """
    bad: list[BadRow] = []

    assert list(read_file(tmp_path / "a.parquet", on_bad=bad.append)) == []
    [labelled] = read_file(tmp_path / "a.parquet", str(_written(tmp_path / "m.toml", text)))

    assert "offset" in bad[0].reason
    assert labelled.occurred_at_ms == 1747000000000


@pytest.mark.parametrize(
    ("content", "mapping", "word"),
    [
        (b"PAR1 but no more", None, "Parquet"),
        (b"a,b,c\n1,2,3\n", None, "no mapping knows the columns a, b, c"),
        (b"a,b,c\n1,2,3\n", "paysim", "needs the columns"),
        (b"a,b,c\n1,2,3\n", "generic", "needs the columns amount, timestamp, transaction_id"),
        (b"a,b,c\n1,2,3\n", "mine.toml", "mine.toml"),
        (b"a,b,a\n1,2,3\n", None, "more than once"),
    ],
)
def test_a_source_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, mapping: str | None, word: str) -> None:
    with pytest.raises(InvalidSource, match=word):
        list(read_file(_written(tmp_path / "a", content), mapping))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InvalidSource, match=r"nowhere\.csv: cannot be read \(No such file"):
        list(read_file("nowhere.csv"))


def test_memory_stays_flat_however_long_a_file_is(tmp_path: Path) -> None:
    def lines(count: int) -> Iterator[bytes]:
        yield _GENERIC.encode()
        for number in range(count):
            yield b"txn_%d,12.50,1747000000,card_1,Example Shop,0,%s\n" % (number, b"x" * 400)

    peaks = []
    for name, count in (("short.csv", 2_000), ("long.csv", 20_000)):
        with (tmp_path / name).open("wb") as file:
            file.writelines(lines(count))
        tracemalloc.start()
        assert sum(1 for _ in read_file(tmp_path / name)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.2 * peaks[0] + 100_000
    assert peaks[1] < (tmp_path / "long.csv").stat().st_size / 10


@pytest.fixture
def data() -> Path:
    folder = os.environ.get("FRAUDSTREAM_DATA")
    if not folder:
        pytest.skip("FRAUDSTREAM_DATA does not name a folder with the measuring data")
    return Path(folder)


def test_the_published_handbook_data_is_read(data: Path) -> None:
    file = data / "handbook" / "transactions.parquet"
    if not file.exists():
        pytest.skip("FRAUDSTREAM_DATA has no handbook data")

    rows = list(itertools.islice(read_file(file), 20_000))

    assert len({row.transaction_id for row in rows}) == 20_000
    assert [row.occurred_at_ms for row in rows] == sorted(row.occurred_at_ms for row in rows)
    assert 0 < sum(bool(row.fraud) for row in rows) < 100
    assert all(_decoded(row).amount_minor >= 0 for row in rows[:2_000])


def test_the_published_paysim_run_is_read(data: Path) -> None:
    file = data / "paysim" / "paysim_100k.csv.gz"
    if not file.exists():
        pytest.skip("FRAUDSTREAM_DATA has no PaySim data")

    rows = list(read_file(file))

    assert (len(rows), sum(bool(row.fraud) for row in rows)) == (100_000, 70)
    assert all(_decoded(row).card_id for row in rows[:2_000])
