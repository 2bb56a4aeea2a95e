"""Settings: what can be set, through which doors, and what is wrong with it, all at once.

`model` says what exists, `checks` what a value must be; `doors` reads flags, environment, secret
files, `.env` and the settings file; `loading` puts them together; `faults` writes the sentences;
`admin_token` makes the one value that makes itself; `reference` writes the settings down for people, `shown` tells
what they hold without their secrets.
"""

from app.settings.admin_token import AdminToken, ensure_admin_token, running_admin_token
from app.settings.faults import SettingsError
from app.settings.loading import Loaded, load_settings
from app.settings.model import Settings, variable_of

__all__ = [
    "AdminToken",
    "Loaded",
    "Settings",
    "SettingsError",
    "ensure_admin_token",
    "load_settings",
    "running_admin_token",
    "variable_of",
]
