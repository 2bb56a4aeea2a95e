"""The table of `sim/…` models: one row for each behaviour that can be asked for by name.

Rows only, a file for each group; what they mean is in `behaviours`.
"""

from __future__ import annotations

from app.simulator.behaviours import Behaviour
from app.simulator.models.answers import ANSWERS, TIMES
from app.simulator.models.bytes import BYTES, CODINGS
from app.simulator.models.costs import COSTS
from app.simulator.models.ends import ENDS
from app.simulator.models.errors import ERRORS
from app.simulator.models.frames import FRAMES
from app.simulator.models.heads import HEADS

# By what they are about, in the order in which they are listed.
GROUPS: dict[str, dict[str, Behaviour]] = {
    "time": TIMES,
    "what is said": ANSWERS,
    "costs": COSTS,
    "frames": FRAMES,
    "encodings": CODINGS,
    "bytes": BYTES,
    "heads": HEADS,
    "ends": ENDS,
    "errors": ERRORS,
}
