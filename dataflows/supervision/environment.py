"""What a supervisor tells its processes: environment variables. None of them is a setting, but for `FRAUD_LOGS`."""

from typing import Final

PROCESS: Final = "FRAUD_PROCESS"
"""The number of the process, from 0."""

STATUS_FILE: Final = "FRAUD_STATUS_FILE"
"""Where it writes its status each second."""

RESTARTS: Final = "FRAUD_RESTARTS"
"""How often all processes were started again."""

LOGS: Final = "FRAUD_LOGS"
"""`text` or `json`; without it text on a terminal, JSON elsewhere."""

CAREFUL: Final = "FRAUD_CAREFUL"
"""Where it notes each record that it works on (`store.quarantine.InHand`); set after deaths without a reason."""
