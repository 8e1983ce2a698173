"""CSV files that people write: typed rows with their line, and every fault in them, not only the first.

UTF-8 (a byte order mark is let pass), comma-separated, double quotes, a header in any order; columns that nobody asked
for are ignored, and so is white space around a value.
"""

import csv
import difflib
import io
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final

from include.contract.event import CONTROL_PATTERN, MAX_TEXT_CODE_POINTS

MAX_SHOWN: Final = 12
_CONTROL = re.compile(CONTROL_PATTERN)
_DECIMAL = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,15})?")
_INTEGER = re.compile(r"-?[0-9]{1,15}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class InvalidFilesError(ValueError):
    """Files cannot be used; the message lists the first MAX_SHOWN faults, each with file, line and mend."""


@dataclass
class Faults:
    """What is wrong in some files. Add to it, then call `raise_if_any`."""

    by_file: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)
    """Files of which some rows could not be read: what is missing there may be in those."""
    count: int = 0

    def add_unreadable(self, file: str, line: int | None, fault: str) -> None:
        """`add`, of what kept rows from being read."""
        self.incomplete.add(file)
        self.add(file, line, fault)

    def add(self, file: str, line: int | None, fault: str) -> None:
        """`fault` says what is wrong and the mend; without a `line` it is the whole file's."""
        self.count += 1
        listed = self.by_file.setdefault(file, [])
        if len(listed) < MAX_SHOWN:
            where = file if line is None else f"{file} line {line}"
            listed.append((line or 0, f"{where}: {fault}"))

    def shown(self) -> list[str]:
        """At most MAX_SHOWN faults, by file and line; where there are more, as many of each file as fit."""
        ranked = sorted(
            (rank, place, text)
            for place, listed in enumerate(self.by_file.values())
            for rank, (_, text) in enumerate(sorted(listed))
        )
        return [text for _, _, text in sorted(ranked[:MAX_SHOWN], key=lambda it: (it[1], it[0]))]

    def raise_if_any(self) -> None:
        """Raise InvalidFilesError if there is a fault."""
        if not self.count:
            return
        shown = self.shown()
        more = f"\n- ... and {self.count - len(shown)} more" if self.count > len(shown) else ""
        listed = "\n".join(f"- {text}" for text in shown)
        raise InvalidFilesError(f"{self.count} fault(s), nothing was changed:\n{listed}{more}")


@dataclass(slots=True)
class Row:
    """One row. A getter that finds a fault adds it to `faults` and returns a value of the right type all the same."""

    file: str
    line: int
    values: dict[str, str]
    faults: Faults
    is_valid: bool = True

    def fault(self, fault: str) -> None:
        """Add what is wrong with this row, and the mend."""
        self.is_valid = False
        self.faults.add(self.file, self.line, fault)

    def text(self, column: str, *, longest: int | None = None, optional: bool = False) -> str:
        """Text without control characters, of `longest` code points at most."""
        value = self.values[column]
        if not value and not optional:
            self.fault(f"{column} is empty: fill it in")
        elif _CONTROL.search(value):
            self.fault(f"{column} holds a control character (a line break, say): remove it")
        elif longest is not None and len(value) > longest:
            self.fault(f"{column} has {len(value)} characters: shorten it to {longest}")
        return value

    def identifier(self, column: str) -> str:
        """Text that an event may carry: what the event contract allows."""
        return self.text(column, longest=MAX_TEXT_CODE_POINTS)

    def one_of(self, column: str, allowed: Collection[str], what: str) -> str:
        """One of `allowed`, as written there."""
        value = self.values[column]
        if value not in allowed:
            near = difflib.get_close_matches(value, allowed, n=1, cutoff=0.75)
            hint = f"is {near[0]} meant?" if near else "correct it or remove the row"
            self.fault(f"{column} {value!r} is {what}: {hint}")
        return value

    def decimal(self, column: str, low: float, high: float, *, places: int | None = None) -> Decimal:
        """A decimal number in [low, high], with at most `places` digits after the point."""
        value = self.values[column]
        number = Decimal(value) if _DECIMAL.fullmatch(value) else None
        if number is None:
            self.fault(f"{column} {value!r} is no number: write it like 7.25, with a point")
        elif not low <= number <= high:
            self.fault(f"{column} {value} is outside {low:g} to {high:g}: correct it")
        elif places is not None and number != round(number, places):
            self.fault(f"{column} {value} has more than {places} digits after the point: round it")
        else:
            return number
        return Decimal(0)

    def positive_integer(self, column: str) -> int:
        """A whole number above 0 that fits 32 bits."""
        value = self.values[column]
        number = int(value) if _INTEGER.fullmatch(value) else math.nan
        if 1 <= number < 2**31:
            return int(number)
        self.fault(f"{column} {value!r} is no whole number above 0: correct it")
        return 1

    def calendar_date(self, column: str) -> date:
        """A calendar date, `2026-11-24`."""
        value = self.values[column]
        try:
            if _DATE.fullmatch(value):
                return date.fromisoformat(value)
        except ValueError:
            pass
        self.fault(f"{column} {value!r} is no date: write it like 2026-11-24")
        return date.min


def read_rows(path: Path, columns: Sequence[str], faults: Faults, *, may_be_empty: bool = False) -> list[Row]:
    """Rows of `path` that have a value (perhaps empty) for each of `columns`; the rest is in `faults`.

    `may_be_empty` lets a file with nothing but its header pass.
    """
    text = _decoded(path, faults)
    if text is None:
        return []
    lines = _parsed(path.name, text, faults)
    _, header = next(lines, (1, []))
    if not _is_header(path.name, header, columns, faults):
        return []
    rows = []
    for line, values in lines:
        if len(values) != len(header):
            faults.add_unreadable(
                path.name, line,
                f"{len(values)} values under a header of {len(header)}: quote values that hold a comma (\"a, b\")",
            )  # fmt: skip
        else:
            rows.append(Row(path.name, line, dict(zip(header, values, strict=True)), faults))
    if not rows and path.name not in faults.incomplete and not may_be_empty:
        faults.add_unreadable(path.name, None, "no row under the header: export it again")
    return rows


def check_unique(rows: Sequence[Row], *key: str) -> None:
    """Add a fault for each row whose `key` (columns) stands on an earlier line, too."""
    seen: dict[tuple[str, ...], int] = {}
    for row in rows:
        value = tuple(row.values[column] for column in key)
        first = seen.setdefault(value, row.line)
        if first != row.line:
            shown = ", ".join(f"{column} {part!r}" for column, part in zip(key, value, strict=True))
            row.fault(f"{shown} stands on line {first} already: remove one of the two")


def _decoded(path: Path, faults: Faults) -> str | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        faults.add_unreadable(
            path.name, None, f"cannot be read ({error.strerror or error}): put it into {path.parent}"
        )
        return None
    content = content.removeprefix(_BYTE_ORDER_MARK)
    if not content.strip():
        faults.add_unreadable(path.name, None, "is empty: export it again")
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        faults.add_unreadable(
            path.name, line, f"byte 0x{content[error.start]:02x} is not UTF-8: save the file as UTF-8"
        )
        return None


def _parsed(file: str, text: str, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """(line that the row begins on, values without white space around them); empty lines are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    try:
        for values in reader:
            if values:
                yield begins, [value.strip() for value in values]
            begins = reader.line_num + 1
    except csv.Error as error:
        faults.add_unreadable(
            file, begins, f"cannot be read from here on ({error}): see whether a double quote is missing"
        )


def _is_header(file: str, header: Sequence[str], columns: Sequence[str], faults: Faults) -> bool:
    missing = [column for column in columns if column not in header]
    double = [column for column, times in Counter(header).items() if times > 1 and column in columns]
    if missing:
        found = ",".join(header)
        faults.add_unreadable(
            file, 1,
            f"no column {', '.join(missing)}: the first line must name {','.join(columns)}, it is {found[:200]!r}",
        )  # fmt: skip
    if double:
        faults.add_unreadable(file, 1, f"column {', '.join(double)} stands there twice: remove one")
    return not missing and not double
