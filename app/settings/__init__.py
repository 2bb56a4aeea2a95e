"""Settings: what can be set, through which doors, and what is wrong with it, all at once.

`model` says what exists; `doors` reads flags, environment, secret files, `.env` and the
settings file; `admin_token` makes the one value that makes itself.
"""

from app.settings.admin_token import ensure_admin_token
from app.settings.doors import Loaded, SettingsError, load_settings
from app.settings.model import Settings, variable_of

__all__ = ["Loaded", "Settings", "SettingsError", "ensure_admin_token", "load_settings", "variable_of"]
