"""Files of card payments, with the columns that the published data set and its simulator have."""

from pathlib import Path
from typing import Final

import msgspec

from sources.files import FileError, import_duckdb

COLUMNS: Final = ("TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD")
"""The columns that are read. TX_FRAUD_SCENARIO, if it is there, is not: nobody knows it when it matters."""


class Transactions(msgspec.Struct, frozen=True):
    """Payments in the order of their times.

    Attributes:
        ids: As the file names them, as text.
        times: When, us since 1970.
        customers: The customers' ids, as text.
        terminals: The terminals' ids, as text.
        amounts: In units of the currency.
        frauds: What became of them.
    """

    ids: list[str]
    times: list[int]
    customers: list[str]
    terminals: list[str]
    amounts: list[float]
    frauds: list[bool]


def read_transactions(path: Path) -> Transactions:
    """Read all payments of a file whose name ends in `.csv` or `.parquet`.

    Raises:
        FileError: It does not, a column is missing or holds what it should not, a cell is empty, or there is no DuckDB.
        OSError: It cannot be opened.
    """
    readers = {".csv": "read_csv", ".parquet": "read_parquet"}
    if path.suffix not in readers:
        msg = f"{path}: expected a name that ends in {', '.join(readers)}"
        raise FileError(msg)
    duckdb = import_duckdb()
    with path.open("rb"):
        pass
    source = f"{readers[path.suffix]}(?)"
    with duckdb.connect() as connection:
        try:
            connection.execute("SET TimeZone = 'UTC'")
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}", [str(path)]).fetchall()  # noqa: S608
            missing = [name for name in COLUMNS if name not in {column for column, *_ in described}]
            if missing:
                msg = f"{path}: expected the columns {', '.join(COLUMNS)}, got none named {', '.join(missing)}"
                raise FileError(msg)
            rows = connection.execute(
                "SELECT TRANSACTION_ID::VARCHAR, epoch_us(TX_DATETIME::TIMESTAMP), CUSTOMER_ID::VARCHAR, "  # noqa: S608
                "TERMINAL_ID::VARCHAR, TX_AMOUNT::DOUBLE, TX_FRAUD::INTEGER <> 0 "
                f"FROM {source} ORDER BY TX_DATETIME::TIMESTAMP, TRANSACTION_ID",
                [str(path)],
            ).fetchall()
        except duckdb.Error as error:
            msg = f"{path}: {str(error).splitlines()[0]}"
            raise FileError(msg) from None
    for number, row in enumerate(rows, 1):
        if None in row:
            msg = f"{path}: expected a value in each of {', '.join(COLUMNS)}, got none in payment {number}"
            raise FileError(msg)
    columns = zip(*rows, strict=True) if rows else [()] * 6
    return Transactions(*map(list, columns))
