"""`python -m app.simulator`."""

from __future__ import annotations

import sys

from app.simulator.serve import main

sys.exit(main())
