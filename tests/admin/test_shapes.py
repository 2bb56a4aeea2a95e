"""The shapes that scripts rely on, as literal JSON: field by field, in order, to the last digit."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from app.admin.audit import audit_shape
from app.admin.figures import usage_shape, verification_shape
from app.admin.schemas import Shape, key_shape, key_with_secret, request_shape, team_shape
from app.core.audit import Actor, AuditRecord, Target, Via
from app.core.owners import KeyRecord, TeamRecord
from app.core.records import KeyState, Outcome, State, TokenUsage
from app.core.views import Difference, GroupBy, RequestRecord, UsageGroup, UsageReport, UsageTotals, Verification

AT = datetime(2026, 11, 22, 23, 53, 3, 123_456, tzinfo=UTC)

KEY = KeyRecord(
    id="key_1",
    name="support-bot",
    prefix="irg_02ff…",
    team=None,
    tags=("a", "b"),
    state=KeyState.EXPIRED,
    models=("openai/*",),
    expires_at=AT,
    created_at=AT,
    last_used_at=None,
)
KEY_JSON = """{"id":"key_1","name":"support-bot","prefix":"irg_02ff…","team":null,"tags":["a","b"],"state":"expired",
"models":["openai/*"],"budgets":[],"limits":{"rpm":null,"tpm":null,"concurrency":null},
"expires_at":"2026-11-22T23:53:03.123Z","created_at":"2026-11-22T23:53:03.123Z","last_used_at":null}"""

SETTLED = RequestRecord(
    id="req_1",
    created_at=AT,
    key="support-bot",
    key_id="key_1",
    team="growth",
    tags=("prod",),
    model="openai/gpt-4o-mini",
    stream=True,
    state=State.SETTLED,
    model_answered="openai/gpt-4o-mini-2024",
    status=200,
    outcome=Outcome.COMPLETED,
    true_cost_picodollars=12_300_000,
    charged_picodollars=100_000_000,
    true_cost_raw="1.23e-05",
    charged_raw="0.0001",
    usage=TokenUsage(12, 0, 24, 0, 36),
    response_id="resp_1",
    ttfb_ms=812,
    duration_ms=3777,
    closed_at=AT,
    closed_seq=7,
)
SETTLED_JSON = """{"id":"req_1","created_at":"2026-11-22T23:53:03.123Z","key":"support-bot","key_id":"key_1",
"team":"growth","tags":["prod"],"model":"openai/gpt-4o-mini","model_answered":"openai/gpt-4o-mini-2024","stream":true,"status":200,
"state":"settled","outcome":"completed","true_cost":"0.0000123","charged":"0.0001","charged_derived":false,
"charge_mismatch":false,"hold":"0.00","unknown_reason":null,"usage":{"input_tokens":12,"cached_tokens":0,
"output_tokens":24,"reasoning_tokens":0,"total_tokens":36},"response_id":"resp_1","upstream_request_id":null,
"sdk_retry":0,"ttfb_ms":812,"duration_ms":3777,"resolved":null,"counted_from":"charged"}"""

OPEN = RequestRecord("req_2", AT, "alice", "key_2", None, (), "m", stream=False, state=State.OPEN)
OPEN_JSON = """{"id":"req_2","created_at":"2026-11-22T23:53:03.123Z","key":"alice","key_id":"key_2",
"team":null,"tags":[],"model":"m","model_answered":null,"stream":false,"status":null,"state":"open","outcome":null,"true_cost":null,
"charged":null,"charged_derived":false,"charge_mismatch":false,"hold":"0.00","unknown_reason":null,
"usage":{"input_tokens":null,"cached_tokens":null,"output_tokens":null,"reasoning_tokens":null,"total_tokens":null},
"response_id":null,"upstream_request_id":null,"sdk_retry":0,"ttfb_ms":null,"duration_ms":null,"resolved":null,
"counted_from":null}"""

TOTALS = UsageTotals(41, 38, 1, 2, 0, 1_000_000_000_001, 0, 2, 3, 4, 5, 6, 7, 8, 9)
TOTALS_JSON = """"requests":41,"settled":38,"free":1,"unknown":2,"open":0,"true_cost":"1.000000000001","charged":"0.00",
"true_cost_unknown":2,"charged_unknown":3,"input_tokens":4,"cached_tokens":5,"output_tokens":6,"reasoning_tokens":7,
"total_tokens":8,"adjustments":9"""


def usage_of(by: GroupBy, label: str | None, ident: str | None = None) -> Shape:
    return usage_shape(UsageReport(AT, AT, (by,), (UsageGroup((label,), (ident,), TOTALS),), TOTALS))


def usage_json(by: str, group: str) -> str:
    edge = '"2026-11-22T23:53:03.123Z"'
    groups = f'"groups":[{{{group},{TOTALS_JSON}}}],"total":{{{TOTALS_JSON}}}'
    return f'{{"from":{edge},"to":{edge},"by":"{by}",{groups},"timezone":"UTC"}}'


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (key_shape(KEY), KEY_JSON),
        (key_with_secret(KEY, "irg_s"), KEY_JSON[:-1] + ',"secret":"irg_s"}'),
        (
            team_shape(TeamRecord("team_1", "growth", AT, 3)),
            '{"id":"team_1","name":"growth","keys":3,"budgets":[],'
            '"limits":{"rpm":null,"tpm":null,"concurrency":null},"created_at":"2026-11-22T23:53:03.123Z"}',
        ),
        (request_shape(SETTLED), SETTLED_JSON),
        (request_shape(OPEN), OPEN_JSON),
        (usage_of(GroupBy.KEY, "bot", "key_1"), usage_json("key", '"key":"bot","key_id":"key_1"')),
        (usage_of(GroupBy.TEAM, None), usage_json("team", '"team":null,"team_id":null')),
        (usage_of(GroupBy.MODEL, "m"), usage_json("model", '"model":"m"')),
        (usage_of(GroupBy.DAY, "2026-11-22"), usage_json("day", '"day":"2026-11-22"')),
        (usage_of(GroupBy.TAG, None), usage_json("tag", '"tag":null')),
        (
            audit_shape(
                AuditRecord(
                    *("aud_1", AT, Actor("ann", Via.SOCKET), "key.changed", Target("key", "key_1", "bot")),
                    before={"rpm": 60, "team": None},
                    after={"rpm": 30, "team": "growth"},
                )
            ),
            '{"id":"aud_1","at":"2026-11-22T23:53:03.123Z","actor":"ann","via":"socket","action":"key.changed",'
            '"target":"bot","target_id":"key_1","target_kind":"key","before":{"rpm":60,"team":null},'
            '"after":{"rpm":30,"team":"growth"}}',
        ),
        (verification_shape(Verification(ok=True, rows=3)), '{"ok":true,"rows":3,"differences":[],"sealed":0}'),
        (
            verification_shape(Verification(False, 3, (Difference("rollup", {"key": "k"}, {"requests": 1}, {}),))),
            '{"ok":false,"rows":3,"differences":[{"what":"rollup","where":{"key":"k"},"expected":{"requests":1},'
            '"found":{}}],"sealed":0}',
        ),
    ],
)
def test_a_shape_is_this_json(shape: Shape, expected: str) -> None:
    """Same names, same order, exact decimals, null for absent."""
    assert json.loads(shape.model_dump_json(), object_pairs_hook=list) == json.loads(expected, object_pairs_hook=list)
