"""Models that differ in how long they take and in what they say."""

from __future__ import annotations

from app.simulator.behaviours import At, Behaviour, Ending, Failing, Frames, Kind, Parameter, Transfer

TIMES: dict[str, Behaviour] = {
    "sim/fast": Behaviour(summary="answers at once"),
    "sim/slow": Behaviour(
        summary="1.5 s to the first byte (:MS sets it), 20 ms between events",
        first_seconds=1.5,
        between_seconds=0.02,
        parameter=Parameter.FIRST_MS,
    ),
    "sim/stream-pause": Behaviour(
        summary="0.2 s between two events (:MS sets it)", between_seconds=0.2, parameter=Parameter.BETWEEN_MS
    ),
    "sim/dribble": Behaviour(
        summary="200 bytes at a time, wherever that cuts, 20 ms between them (:MS sets it)",
        transfer=Transfer(piece_bytes=200, pause_seconds=0.02),
        parameter=Parameter.PIECE_MS,
    ),
}

ANSWERS: dict[str, Behaviour] = {
    "sim/words": Behaviour(summary="an answer of 500 words (:N sets it)", words=500, parameter=Parameter.WORDS),
    "sim/reasoning": Behaviour(summary="thinks first: a reasoning item and its tokens", reasoning=True),
    "sim/refusal": Behaviour(summary="declines: a refusal part instead of text", kind=Kind.REFUSAL),
    "sim/parallel-calls": Behaviour(
        summary="calls every function of the request at once (one, if parallel_tool_calls is false)", kind=Kind.CALLS
    ),
    "sim/image": Behaviour(
        summary="a picture of 48 KB in base64 (:KB sets it)", kind=Kind.IMAGE, parameter=Parameter.KILOBYTES
    ),
    "sim/big-event": Behaviour(
        summary="a picture of 50 MB in base64, so a terminal event as large (:MB sets it)",
        kind=Kind.IMAGE,
        size_bytes=50_000_000,
        parameter=Parameter.MEGABYTES,
    ),
    "sim/decoy-text": Behaviour(
        summary='text that looks like response.completed and like "usage":{"cost":0}', kind=Kind.DECOY
    ),
    "sim/decoy-fields": Behaviour(
        summary="objects called usage, with a cost of 0, where none belong", decoy_fields=True
    ),
    "sim/extra-usage": Behaviour(summary="unknown fields in usage, a cost among them", extra_usage=True),
    "sim/content-filter": Behaviour(summary="incomplete: the content filter ends it", filtered=True),
    "sim/failed": Behaviour(summary="generates, then fails: status failed, with usage", failing=Failing.WITH_USAGE),
    "sim/failed-untold": Behaviour(
        summary="fails before it generates: status failed, no usage; not billed", failing=Failing.WITHOUT_USAGE
    ),
    "sim/error-event": Behaviour(
        summary="generates, then an error event, then response.failed with usage",
        failing=Failing.WITH_USAGE,
        frames=Frames(error_first=True),
    ),
    "sim/error-event-only": Behaviour(
        summary="generates, then an error event and a clean end",
        failing=Failing.WITH_USAGE,
        frames=Frames(error_first=True),
        ending=Ending(At.TERMINAL),
    ),
}
