"""The state of one log of one key group: histories by key, and the segments that a snapshot writes of them."""

import zlib
from collections.abc import Collection
from typing import Any, Final

import msgspec

from detection.features.columns import nothing
from detection.features.history import History, Keys
from detection.features.plan import ORIGIN_BITS, Log

_LOOK: Final = 100
"""Keys that are not expired, after which `evict_oldest` does not look for more."""

_FAST: Final = 1
"""The level of zlib that costs least."""


class LogState:
    """The histories of one log: the generated function of the step reads and changes them.

    A snapshot holds segments: each has the histories that changed between two snapshots, and of a key the newest one
    counts. So a snapshot costs by what changed since the one before, not by what there is; now and then all histories
    are written anew, as one segment, to be rid of those that no longer count.

    Attributes:
        log: Its keys and columns.
        changed: The histories that changed since the last snapshot.
        settled: Those that did not. What settled first is first.
        left: The keys whose histories are in segments, and not settled any more.
        watermarks: By source partition, ms.
    """

    __slots__ = ("_segments", "_stored", "changed", "left", "log", "settled", "watermarks")

    def __init__(self, log: Log) -> None:
        """Empty."""
        self.log = log
        self.changed: Keys = {}
        self.settled: Keys = {}
        self.left: list[str] = []
        self.watermarks: dict[int, int] = {}
        self._segments: list[bytes] = []
        self._stored = 0  # histories in the segments, and keys that they say are gone

    def __len__(self) -> int:
        """How many keys have a history."""
        return len(self.changed) + len(self.settled)

    def evict(self) -> None:
        """Drop the keys that no event in time can see any more."""
        if not self.watermarks:
            return
        keep = self._keep()
        self.changed = {key: history for key, history in self.changed.items() if _is_kept(history, keep)}
        # A dict made anew gives back the room of those that left.
        settled = {key: history for key, history in self.settled.items() if _is_kept(history, keep)}
        if len(settled) < len(self.settled):
            self.left += [key for key in self.settled if key not in settled]
        self.settled = settled

    def evict_oldest(self) -> None:
        """Drop most of them, at a price that goes by how many they are.

        Those that expired stand at the beginning of what settled, but for some whose events came late or from another
        partition.
        """
        if not self.watermarks:
            return
        keep, expired, kept = self._keep(), [], 0
        for key, history in self.settled.items():
            if _is_kept(history, keep):
                kept += 1
                if kept > _LOOK:
                    break
            else:
                expired.append(key)
        for key in expired:
            del self.settled[key]
        self.left += expired

    def _keep(self) -> dict[int, int]:
        """Until when a key is expired, by the partition of its newest event."""
        return {partition: watermark - self.log.retention for partition, watermark in self.watermarks.items()}

    def settle(self, *, in_turn: bool, at_last: bool) -> None:
        """Put what changed into a segment, or everything if too much in the segments no longer counts.

        Args:
            in_turn: It is this group's turn to write all anew, if a fifth no longer counts; else a half is waited for.
            at_last: The same, if anything at all no longer counts.
        """
        changed = self.changed
        gone = [key for key in self.left if key not in changed]
        self.settled.update(changed)
        self.changed, self.left = {}, []
        stored, live = self._stored + len(gone) + len(changed), len(self.settled)
        if (in_turn and 4 * stored > 5 * live) or (at_last and stored > live) or stored > 2 * live:
            self._segments = [_segment(self.settled, (), self.log)] if live else []
            self._stored = live
        elif changed or gone:
            self._segments.append(_segment(changed, gone, self.log))
            self._stored = stored

    def snapshot(self) -> dict[str, Any]:
        """What `restore` takes, once all has settled."""
        return {
            "columns": _names(self.log),
            "kinds": _kinds(self.log),
            "retention": self.log.retention,
            "watermarks": self.watermarks,
            "count": len(self.settled),
            "stored": self._stored,
            "segments": self._segments,
        }

    @classmethod
    def restore(cls, log: Log, snapshot: dict[str, Any]) -> "LogState":
        """The state that a snapshot was taken of, fitted to the columns that the log has today.

        Raises:
            ValueError, LookupError, TypeError, AttributeError, msgspec.DecodeError, zlib.error: It cannot be read.
        """
        self = cls(log)
        self.watermarks = snapshot["watermarks"]
        keys = histories(snapshot)
        fitted = _fitted(keys, snapshot, log)
        if fitted is keys and "segments" in snapshot:
            self.settled = keys
            self._segments, self._stored = snapshot["segments"], int(snapshot["stored"])
        else:  # the next snapshot writes it anew
            self.changed = fitted
        return self


def histories(stored: dict[str, Any]) -> Keys:
    """The histories of a log of `read_snapshot`, by key; also of an older release. Running sums are one item longer."""
    if "segments" not in stored:
        return _numbers(stored.get("big", ()), stored["keys"])
    keys: Keys = {}
    for segment in stored["segments"]:
        texts, gone, newer = _decode(zlib.decompress(segment))
        for key in gone:
            keys.pop(key, None)
        for key in keys.keys() & newer.keys():
            del keys[key]  # it stands where it settled last
        keys |= _numbers(texts, newer)
    return keys


def _names(log: Log) -> list[str]:
    return [f"{column}:{of.name if of else ''}" for of, column in log.columns]


def _kinds(log: Log) -> list[str]:
    return [of.kind if of else "" for of, _ in log.columns]


def _is_kept(history: History, keep: dict[int, int]) -> bool:
    """Whether an event in time can see a key: it ages by the watermark of the partition of its newest event."""
    newest: int = history[0][-1]
    return newest > keep[history[1][-1] >> ORIGIN_BITS]


def _segment(keys: Keys, gone: Collection[str], log: Log) -> bytes:
    """Compressed msgpack: the columns whose numbers are text, keys that are gone, and histories by key.

    Compressed once, a segment is written with each snapshot until it is replaced, so it pays.
    """
    try:
        packed = _encode(((), gone, keys))
    except OverflowError:  # running sums beyond 64 bits, where msgpack ends
        totals = [2 + index for index, (_, column) in enumerate(log.columns) if column.running]
        texts = {
            key: [[str(item) for item in column] if index in totals else column for index, column in enumerate(history)]
            for key, history in keys.items()
        }
        packed = _encode((totals, gone, texts))
    return zlib.compress(packed, _FAST)


def _numbers(texts: Collection[int], keys: Keys) -> Keys:
    """The histories with numbers in the columns in which they are text."""
    if not texts:
        return keys
    return {
        key: [
            [int(item) if type(item) is str else item for item in column] if n in texts else column
            for n, column in enumerate(history)
        ]
        for key, history in keys.items()
    }


def _fitted(keys: Keys, stored: dict[str, Any], log: Log) -> Keys:
    """The stored histories with the columns that the log has today; these very ones, if they have them."""
    wanted = _names(log)
    kinds = dict(zip(stored["columns"], stored["kinds"], strict=True))
    present = {name: 2 + index for index, name in enumerate(stored["columns"])}
    usable = {name: present[name] for name, kind in zip(wanted, _kinds(log), strict=True) if kinds.get(name) == kind}
    if list(usable) == stored["columns"] == wanted:
        return keys
    return {
        key: [
            *history[:2],
            *(
                history[usable[name]] if name in usable else nothing(column, len(history[0]))
                for name, (_, column) in zip(wanted, log.columns, strict=True)
            ),
        ]
        for key, history in keys.items()
    }


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
