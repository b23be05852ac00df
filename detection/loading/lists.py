"""Lists of pack files, with the members that they begin with."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from detection.kinds import Kind
from detection.lists import AddressTable, entries_of, read_file
from detection.loading.fields import time_name
from detection.loading.report import File, Report
from detection.loading.topics import Topics
from detection.pack import Addresses, Entry, MemberList
from detection.packfile import ListTable


class ListLoader:
    """Checks the lists of files."""

    def __init__(self, report: Report, topics: Topics) -> None:
        self._report = report
        self._topics = topics

    def lists(
        self, owners: Mapping[str, File], events: Mapping[str, File], features: Mapping[str, File]
    ) -> dict[str, MemberList]:
        """The lists, by name."""
        lists: dict[str, MemberList] = {}
        topics: dict[str, str] = {}
        for name, owner in owners.items():
            table = owner.table.list[name]
            for event, file in events.items():
                declared = file.table.event[event]
                if name in {*declared.fields, *(declared.derive or ()), time_name(declared)}:
                    self._report.at(
                        owner, ("list", name), f"list {name}: event {event} has a field of that name", key=True
                    )
            if name in features:
                self._report.at(owner, ("list", name), f"list {name}: there is a feature of that name", key=True)
            given = [key for key in ("members", "file", "topic") if getattr(table, key) is not None]
            if len(given) != 1:
                got = " and ".join(given) or "none of them"
                self._report.at(
                    owner, ("list", name), f"list {name}: expected members, file or topic, got {got}", key=True
                )
            if table.path is not None and not (table.file or "").endswith(".mmdb"):
                self._report.at(owner, ("list", name, "path"), f"list {name}: path is for an .mmdb file")
            topic = None if table.topic is None else self._topics.topic(owner, ("list", name, "topic"), table.topic)
            if topic is not None and topic in topics:
                self._report.at(
                    owner,
                    ("list", name, "topic"),
                    f"list {name}: topic {topic} is that of list {topics[topic]} already",
                )
            elif topic is not None:
                topics[topic] = name
            item = MemberList(name, Kind(table.of), Kind(table.value) if table.value else None, topic=topic)
            lists[name] = replace(item, entries=self._entries(owner, item, table))
        return lists

    def _entries(self, owner: File, item: MemberList, table: ListTable) -> Mapping[Any, Entry] | Addresses:
        key = "members" if table.file is None else "file"
        path = ("list", item.name, key)
        try:
            if table.members is not None:
                return dict(entries_of(item, table.members))
            if table.file is None:
                return {}
            file = Path(owner.name).parent / table.file
            if file.suffix not in {".txt", ".csv", ".mmdb"}:
                self._report.at(
                    owner, path, f"list {item.name}: file: expected a .txt, .csv or .mmdb, got {table.file!r}"
                )
                return {}
            if file.suffix == ".mmdb":
                return self._addresses(owner, item, table, file)
            return read_file(item, file)
        except OSError as error:
            self._report.at(owner, path, f"list {item.name}: file {table.file}: cannot be read: {error.strerror}")
        except ValueError as error:
            where = f"{table.file}:" if table.file is not None else "members: "
            self._report.at(owner, path, f"list {item.name}: {where}{error}")
        return {}

    def _addresses(
        self, owner: File, item: MemberList, table: ListTable, file: Path
    ) -> Mapping[Any, Entry] | Addresses:
        if table.path is None or item.value is None or item.kind is not Kind.STR:
            expected = 'an .mmdb needs value and path, such as path = "country.iso_code", and members of kind str'
            self._report.at(owner, ("list", item.name, "file"), f"list {item.name}: {expected}")
            return {}
        return AddressTable(file, tuple(table.path.split(".")), item.value)
