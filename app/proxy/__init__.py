"""The data plane: one request at a time, from a team key to the upstream and back. Never imports admin."""
