"""The upstream simulator: speaks ImageRouter's API on loopback, costs nothing, and keeps a bill.

It stands in for the upstream in the demo and in every test, and its bill, written by its own
process, is the judge of what the ledger must say. So that a judge is no relative of the
judged, it computes money by itself and imports nothing of the gateway but `app.core`.
Source of its behaviour: ImageRouter's pages (February 2026) and the OpenAI Responses API as
the SDKs of November 2026 read it.
"""

from __future__ import annotations
