"""The arrays that training works on."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float64]
"""A row for each event, a column for each feature; NaN where a value is unknown."""

Numbers: TypeAlias = NDArray[np.float64]
"""One number for each event."""

Flags: TypeAlias = NDArray[np.bool_]
"""Yes or no for each event."""

Times: TypeAlias = NDArray[np.int64]
"""Event times, us since 1970."""
