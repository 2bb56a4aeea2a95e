"""`python -m app` is `irg`."""

from app.cli import main

main()
