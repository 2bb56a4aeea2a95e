"""What is known of a key's last requests to a model, looked up among all of them: what `holds.Recent` must tell."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.holds import SAMPLES_MAX, SAMPLES_MIN, Sample


def most_of(samples: Sequence[Sample]) -> Sample | None:
    """`samples`: newest first."""
    if len(samples) < SAMPLES_MIN:
        return None
    last = samples[:SAMPLES_MAX]
    return Sample(max(one.counted_picodollars for one in last), max(one.tokens for one in last))
