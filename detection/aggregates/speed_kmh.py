"""speed_kmh: how fast one would have had to travel from the place of the event before."""

from collections.abc import Mapping
from math import atan2, cos, hypot, inf, radians, sin
from typing import ClassVar, Final

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.expressions import Range
from detection.kinds import MICROS, Kind

POLE: Final = 90.0
DATE_LINE: Final = 180.0
EARTH_RADIUS_KM: Final = 6371.0088
"""The mean radius R1. H. Moritz: Geodetic Reference System 1980, Journal of Geodesy 74 (2000)."""


def distance_km(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """The great-circle distance on a sphere; arguments in degrees.

    The special case of T. Vincenty: Direct and inverse solutions of geodesics on the ellipsoid (1975) for a sphere,
    which is exact for near and for opposite places alike.

    >>> round(distance_km(52.52, 13.405, 48.8566, 2.3522)), distance_km(1.0, 2.0, 1.0, 2.0)
    (877, 0.0)
    """
    phi, other, turn = radians(lat), radians(other_lat), radians(other_lon - lon)
    aside = hypot(cos(other) * sin(turn), cos(phi) * sin(other) - sin(phi) * cos(other) * cos(turn))
    return EARTH_RADIUS_KM * atan2(aside, sin(phi) * sin(other) + cos(phi) * cos(other) * cos(turn))


def speed(here: tuple[float, float], lat: float | None, lon: float | None, gap: int) -> float | None:
    """The speed from one place to another, km/h.

    Args:
        here: Latitude and longitude of the one, degrees.
        lat: Latitude of the other; None if nobody kept it.
        lon: Its longitude.
        gap: The time between, us; less than a second counts as one.

    Returns:
        None where a place is not on Earth.

    >>> round(speed((52.52, 13.405), 48.8566, 2.3522, 3_600_000_000)), speed((91.0, 0.0), 0.0, 0.0, 1)
    (877, None)
    """
    if lat is None or lon is None:
        return None
    if max(abs(here[0]), abs(lat)) > POLE or max(abs(here[1]), abs(lon)) > DATE_LINE:
        return None
    return distance_km(*here, lat, lon) * 3600 * MICROS / max(gap, MICROS)


class SpeedKmh(Aggregate):
    """The speed between the key's event before this one, if the window holds one, and this one, in km/h.

    The great-circle distance over the time between. Times less than a second apart count as a second: two readings of
    one place differ by some metres, and must not become a journey.

    >>> SpeedKmh().source(Window("i", "j", "times", "lats", others="lons", here="here"), Kind.FLOAT)
    '(speed(here, lats[j - 1 - 1], lons[j - 1 - 1], t - times[j - 1 - 1]) if j - 1 > i else None)'
    """

    name: ClassVar[str] = "speed_kmh"
    of: ClassVar[frozenset[Kind]] = frozenset({Kind.FLOAT})
    pair: ClassVar[tuple[str, str] | None] = ("latitude", "longitude")
    optional: ClassVar[bool] = True
    helpers: ClassVar[Mapping[str, object]] = {"speed": speed}

    def result(self, of: Kind | None) -> Kind:  # noqa: ARG002
        """Always a float."""
        return Kind.FLOAT

    def range(self, window: int) -> Range:  # noqa: ARG002
        """Never negative."""
        return (0, inf)

    def columns(self, of: Kind | None) -> tuple[Column, ...]:  # noqa: ARG002
        """The angles themselves."""
        return (Column.VALUE,)

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """From the last place before the current event."""
        last = f"{window.past} - 1"
        place = f"{window.values}[{last}], {window.others}[{last}]"
        since = f"{window.time} - {window.times}[{last}]"
        return f"(speed({window.here}, {place}, {since}) if {window.past} > {window.start} else None)"
