"""The control plane: routes under /admin/v1 for keys, teams, requests, usage, export and the live feed.

Called by `app.main` and, when no gateway runs, by the command line. Never imports `proxy`.
"""

from app.admin.api import build_admin

__all__ = ["build_admin"]
