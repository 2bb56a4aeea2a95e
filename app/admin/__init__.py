"""The control plane: routes under /admin/v1 for keys, teams, requests, usage, export and the live feed; and
under /v1/me what a key's holder sees of them.

Called by `app.main` and, when no gateway runs, by the command line. Never imports `proxy`.
"""

from app.admin.api import build_admin
from app.admin.me import build_me

__all__ = ["build_admin", "build_me"]
