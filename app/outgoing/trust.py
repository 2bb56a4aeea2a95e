"""Whose certificates count on the way out: the one TLS context that the connections of a client share.

On Linux the operating system's certificates are read once: `truststore` would read them again
for every connection, 65 ms with the loop standing still (measured 2026-11-23, 144 certificates).
Where the operating system judges by itself (macOS, Windows), `truststore` asks it.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import certifi
import truststore

# Where distributions keep their bundle, for a Python whose OpenSSL looks elsewhere.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # the same, newer
    "/etc/ssl/ca-bundle.pem",  # SUSE
)


def trust(ca_file: str | None = None) -> ssl.SSLContext:
    """A client context: the given file alone, else what the operating system trusts, else certifi's bundle."""
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    if sys.platform in ("darwin", "win32"):
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        bundle = next((path for path in _BUNDLES if Path(path).is_file()), certifi.where())
        context.load_verify_locations(bundle)
    return context
