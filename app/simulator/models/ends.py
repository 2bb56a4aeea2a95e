"""Models that differ in how their answers end. All of them are billed."""

from __future__ import annotations

from app.simulator.behaviours import At, Behaviour, By, Ending, Transfer


def _ends(summary: str, at: At, by: By, transfer: Transfer | None = None) -> Behaviour:
    return Behaviour(summary=summary, ending=Ending(at, by), transfer=transfer or Transfer())


ENDS: dict[str, Behaviour] = {
    "sim/no-terminal": _ends("a stream that ends cleanly without its terminal event", At.TERMINAL, By.FRAMING),
    "sim/cut-before-headers": _ends("the connection closes before the head", At.HEAD, By.CLOSE),
    "sim/reset-before-headers": _ends("a reset before the head", At.HEAD, By.RESET),
    "sim/stall-before-headers": _ends("no head ever comes", At.HEAD, By.SILENCE),
    "sim/cut-midstream": _ends("the connection closes inside the answer, between two events", At.MIDWAY, By.CLOSE),
    "sim/reset-midstream": _ends("a reset inside the answer, between two events", At.MIDWAY, By.RESET),
    "sim/stall": _ends("falls silent inside the answer, between two events", At.MIDWAY, By.SILENCE),
    "sim/half-event": _ends("the connection closes inside an event", At.INSIDE_EVENT, By.CLOSE),
    "sim/half-event-reset": _ends("a reset inside an event", At.INSIDE_EVENT, By.RESET),
    "sim/half-event-stall": _ends("falls silent inside an event", At.INSIDE_EVENT, By.SILENCE),
    "sim/half-event-end": _ends("a stream that ends cleanly inside an event", At.INSIDE_EVENT, By.FRAMING),
    "sim/half-chunk": _ends("the connection closes inside an HTTP chunk", At.MIDWAY, By.HALF_CHUNK),
    "sim/bad-chunk": _ends("an HTTP chunk whose size is no number", At.MIDWAY, By.BAD_CHUNK),
    "sim/cut-before-terminal": _ends("all but the terminal event, then the connection closes", At.TERMINAL, By.CLOSE),
    "sim/stall-before-terminal": _ends("all but the terminal event, then silence", At.TERMINAL, By.SILENCE),
    "sim/cut-inside-terminal": _ends("the connection closes inside the terminal event", At.INSIDE_TERMINAL, By.CLOSE),
    "sim/cut-after-terminal": _ends("the terminal event, then no end of the framing", At.WHOLE, By.CLOSE),
    "sim/open-after-terminal": _ends("the terminal event, then the connection stays open", At.WHOLE, By.SILENCE),
    "sim/close-delimited-cut": _ends(
        "half an answer that only the connection's end ends", At.MIDWAY, By.CLOSE, Transfer(close_delimited=True)
    ),
}
