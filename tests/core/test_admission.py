"""The one decision over a request, as a function of facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.admission import KeyFacts, decide, identified
from app.core.records import Admitted, Intent, KeyState, RefusalReason, Refused

NOW = datetime(2026, 11, 22, 23, 53, 3, tzinfo=UTC)
INTENT = Intent("req_1", "key_1", "hash", NOW, "openai/gpt-4o-mini", False)
KEY = KeyFacts("key_1", "alice", "team_1", "blue", ("prod",), (), KeyState.ACTIVE)

LATER, EARLIER = NOW + timedelta(milliseconds=1), NOW - timedelta(milliseconds=1)


def judged(intent: Intent, key: KeyFacts | None, owners: Mapping[str, str], now: datetime) -> Admitted | Refused:
    """Without any limit."""
    refused = identified(intent, key, owners, now)
    if refused is not None or key is None:
        assert refused is not None
        return refused
    return decide(intent, key, (), tuple, now)


def test_an_active_key_is_admitted_with_what_the_ledger_shows_of_it() -> None:
    """The verdict carries the names as they are at admission; nothing is held where no budget applies."""
    assert judged(INTENT, KEY, {}, NOW) == Admitted("req_1", "alice", "blue", ("prod",), hold_picodollars=0)


@pytest.mark.parametrize(
    "key",
    [
        None,
        replace(KEY, state=KeyState.DISABLED),
        replace(KEY, state=KeyState.REVOKED),
        replace(KEY, expires_at=NOW),
        replace(KEY, secret_expires_at=NOW),
        replace(KEY, expires_at=LATER, secret_expires_at=EARLIER),
    ],
)
def test_every_useless_key_is_refused_alike(key: KeyFacts | None) -> None:
    """Unknown, disabled, revoked and expired keys get the same verdict, whatever else is wrong with the request."""
    intent = replace(INTENT, references=("resp_1",), model="not/allowed")
    assert judged(intent, key, {}, NOW) == Refused(RefusalReason.KEY_REFUSED)


def test_an_expiry_counts_from_its_very_millisecond() -> None:
    """A key works until its expiry, and not at it."""
    assert isinstance(judged(INTENT, replace(KEY, expires_at=LATER, secret_expires_at=LATER), {}, NOW), Admitted)


def test_a_model_outside_the_patterns_is_refused_with_what_is_allowed() -> None:
    """The refusal tells the patterns, for the error's text."""
    key = replace(KEY, models=("anthropic/*", "openai/gpt-4o"))
    assert judged(INTENT, key, {}, NOW) == Refused(
        RefusalReason.MODEL_NOT_ALLOWED, allowed_models=("anthropic/*", "openai/gpt-4o")
    )
    assert isinstance(judged(INTENT, replace(KEY, models=("openai/*",)), {}, NOW), Admitted)


@pytest.mark.parametrize("owners", [{}, {"resp_2": "key_2"}, {"resp_1": "key_2", "resp_2": "key_1"}])
def test_a_reference_that_the_key_did_not_make_is_refused(owners: dict[str, str]) -> None:
    """Another key's response and one that never was are refused alike: the first such reference is named."""
    intent = replace(INTENT, references=("resp_1",))
    assert judged(intent, KEY, owners, NOW) == Refused(RefusalReason.RESPONSE_NOT_FOUND, reference="resp_1")


@given(
    owners=st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["key_1", "key_2"])),
    references=st.lists(st.sampled_from("abcd"), max_size=4),
    state=st.sampled_from([KeyState.ACTIVE, KeyState.DISABLED, KeyState.REVOKED]),
    expiry=st.sampled_from([None, EARLIER, NOW, LATER]),
    models=st.sampled_from([(), ("openai/*",), ("other/*",)]),
)
def test_admitted_exactly_when_nothing_speaks_against_it(
    owners: dict[str, str], references: list[str], state: KeyState, expiry: datetime | None, models: tuple[str, ...]
) -> None:
    """The verdict is Admitted if and only if key, model and every reference are in order."""
    key = replace(KEY, state=state, expires_at=expiry, models=models)
    verdict = judged(replace(INTENT, references=tuple(references)), key, owners, NOW)
    in_order = (
        state is KeyState.ACTIVE
        and (expiry is None or expiry > NOW)
        and models != ("other/*",)
        and all(owners.get(reference) == "key_1" for reference in references)
    )
    assert isinstance(verdict, Admitted) == in_order
