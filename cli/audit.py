"""`fraud audit`."""

from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter, validators
from rich.table import Table

from broker.logs import logs_to_stderr
from cli.errors import PROBLEMS, UsageError
from cli.project import read_project
from cli.terminal import stdout
from detection.ledger import EXAMPLES, InputCount, Report
from sources.audit import SETTLE, StartError
from sources.audit import audit as count
from sources.verdicts import OtherError, parse_origin

_COLUMNS: Final = ("records", "answered", "pending", "lost", "doubled")


def audit(
    *,
    since: tuple[str, ...] = (),
    settle: Annotated[float, Parameter(validator=validators.Number(gte=0))] = SETTLE,
    json: Path | None = None,
    same_as: Path | None = None,
) -> int:
    """Count lost, doubled and foreign answers.

    Args:
        since: Begin at this record, topic/partition/offset; once for each partition. Others begin at their oldest.
        settle: Seconds to wait for answers to what is pending.
        json: Write the report to this file.
        same_as: A report of before: are the answers to the same records the same, byte for byte?
    """
    logs_to_stderr()
    settings, pack = read_project()
    before = None if same_as is None else _read(same_as)
    starts = _starts(since)
    try:
        report = count(settings, pack.topics_in, pack.topics_out, since=starts, settle=settle)
    except StartError as error:
        msg = f"--since: {error}"
        raise UsageError(msg) from None
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    _show(report)
    differences = [] if before is None else report.differences(before)
    if before is not None:
        told = f"not those of {same_as}: {', '.join(differences)}" if differences else f"those of {same_as}"
        stdout().print(f"answers: {told}")
    return 0 if report.exact and not differences else PROBLEMS


def _starts(since: tuple[str, ...]) -> dict[str, int]:
    try:
        return dict(parse_origin(origin) for origin in since if origin != "beginning")
    except OtherError as error:
        msg = f"--since: {error}"
        raise UsageError(msg) from None


def _read(path: Path) -> Report:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except msgspec.DecodeError as error:
        msg = f"--same-as: {path}: expected a report that --json has written, got {error}"
        raise UsageError(msg) from None


def _show(report: Report) -> None:
    console = stdout()
    table = Table("", *_COLUMNS, box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for address, counted in report.inputs.items():
        table.add_row(address, *_numbers(counted))
    if len(report.inputs) != 1:
        table.add_row("all", *_numbers(report))
    console.print(table)
    for kind, places in report.examples.items():
        number = getattr(report, kind)
        more = f" and {number - len(places):,} more" if number > EXAMPLES else ""
        console.print(f"{kind}: {', '.join(places)}{more}")
    for address in report.held_back:
        console.print(f"{address}: an open transaction hides its end, so nothing is called lost")
    for address in report.cut:
        console.print(f"{address}: its oldest records are deleted; what was answered there looks lost (see --since)")
    pending = f", {report.pending:,} pending" if report.pending else ""
    if report.exact:
        records = "record" if report.answered == 1 else "records"
        console.print(f"exact: {report.answered:,} {records}, each answered once{pending}")
    else:
        console.print(
            f"not exact: lost {report.lost:,}, doubled {report.doubled:,}, foreign {report.foreign:,}{pending}"
        )


def _numbers(counted: InputCount | Report) -> list[str]:
    return [f"{getattr(counted, name):,}" for name in _COLUMNS]
