"""The values and locals of one generated function."""

from collections.abc import Mapping


class Constants:
    """Binds values to generated names k0, k1, …; shared by all expressions of one generated function.

    Generated code reaches a value by its name only, so that nothing a user wrote becomes source.

    >>> constants = Constants()
    >>> constants.bind("US"), constants.bind(400.5), constants.bind("US")
    ('k0', 'k1', 'k0')
    """

    def __init__(self, prefix: str = "k") -> None:
        """Hand out names that begin with the prefix: one letter, not `t`, which locals begin with."""
        self._prefix = prefix
        self._values: dict[str, object] = {}
        self._names: dict[object, str] = {}
        self._locals = 0

    @property
    def values(self) -> Mapping[str, object]:
        """What to put into the namespace of the generated function, by name."""
        return self._values

    def bind(self, value: object) -> str:
        """Name a value. Equal values of the same type share a name."""
        identity = _identity(value)
        name = self._names.get(identity)
        if name is None:
            name = self._names[identity] = f"{self._prefix}{len(self._values)}"
            self._values[name] = value
        return name

    def local(self) -> str:
        """A fresh local: t0, t1, …; none is handed out twice, so expressions in one function never clash."""
        self._locals += 1
        return f"t{self._locals - 1}"


def _identity(value: object) -> object:
    """What tells values apart that Python calls equal: 1, 1.0 and True; 0.0 and -0.0."""
    if isinstance(value, float):
        return float, value.hex()
    if isinstance(value, (tuple, frozenset)):
        return type(value), type(value)(_identity(member) for member in value)
    try:
        hash(value)
    except TypeError:
        return object, id(value)  # `Constants` holds the value, so its id is not given away again
    return type(value), value
