"""`irg keys` and `irg teams` without a gateway: what goes to which stream, and how each fault ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.keys import is_secret, new_secret
from tests.cli.irg import irg

pytestmark = pytest.mark.usefixtures("directory")


def test_create_writes_the_secret_alone_to_stdout() -> None:
    """It pipes; all talk is on stderr, and the secret is not in it."""
    made = irg("keys", "create", "alice")
    assert made.code == 0
    secret = made.out.removesuffix("\n")
    assert is_secret(secret)
    assert "alice" in made.err
    assert secret not in made.err


def test_create_as_json_is_the_keys_shape_with_its_secret() -> None:
    """On stdout, and nothing on stderr."""
    irg("teams", "create", "growth")
    flags = ["--team", "growth", "--model", "openai/*", "--model", "x/y", "--tag", "prod", "--expires", "2100-01-01"]
    ran = irg("keys", "create", "bot", *flags, "--json")
    made = ran.json
    assert ran.err == ""
    assert is_secret(made.pop("secret"))
    assert (made["team"], made["models"], made["tags"]) == ("growth", ["openai/*", "x/y"], ["prod"])
    assert made["expires_at"] == "2100-01-01T00:00:00.000Z"
    assert irg("keys", "show", "bot", "--json").json == made
    assert irg("keys", "--json").json == irg("keys", "list", "--json").json == {"items": [made], "next": None}
    assert [team["keys"] for team in irg("teams", "--json").json["items"]] == [1]


def test_lists_are_tab_separated_in_a_pipe_and_tables_on_a_terminal() -> None:
    """Without a header in the pipe."""
    irg("keys", "create", "alice")
    irg("keys", "create", "bob", "--tag", "prod", "--tag", "blue")
    assert [(row[0], row[1], row[4]) for row in irg("keys").cells] == [
        ("alice", "active", "-"),
        ("bob", "active", "blue, prod"),
    ]
    table = irg("keys", terminal=True).out.splitlines()
    assert [name in table[1] for name in ("name", "state", "tags")] == [True] * 3
    assert "\t" not in "".join(table)


def test_a_list_goes_on_behind_its_cursor() -> None:
    """The hint on stderr is the flag to add."""
    for name in ("a", "b", "c"):
        irg("keys", "create", name)
    first = irg("keys", "--limit", "2")
    assert [row[0] for row in first.cells] == ["a", "b"]
    assert "--after 'b'" in first.err
    rest = irg("keys", "--limit", "2", "--after", "b")
    assert ([row[0] for row in rest.cells], rest.err) == (["c"], "")


def test_set_changes_what_is_named_and_clears_what_is_cleared() -> None:
    """Everything else stays."""
    irg("teams", "create", "growth")
    irg("keys", "create", "bot", "--team", "growth", "--tag", "prod", "--model", "a/*")
    before = irg("keys", "show", "bot", "--json").json
    changed = irg("keys", "set", "bot", "--model", "b/*", "--expires", "2100-01-01", "--json").json
    assert changed == before | {"models": ["b/*"], "expires_at": "2100-01-01T00:00:00.000Z"}
    cleared = irg("keys", "set", "bot", "--no-team", "--any-model", "--no-expiry", "--no-tags", "--json").json
    assert cleared == before | {"team": None, "models": [], "tags": []}
    assert irg("keys", "set", "bot").code == 2
    assert irg("keys", "set", "bot", "--team", "growth", "--no-team").code == 2
    assert irg("keys", "rename", "bot", "robot", "--json").json["name"] == "robot"
    assert irg("teams", "set", "growth", "--name", "sales", "--json").json["name"] == "sales"


def test_disable_and_enable() -> None:
    """Reversible, so nobody is asked."""
    irg("keys", "create", "alice")
    assert irg("keys", "disable", "alice", "--json").json["state"] == "disabled"
    assert irg("keys", "enable", "alice", "--json").json["state"] == "active"


@pytest.mark.parametrize("verb", ["revoke", "rotate"])
def test_what_cannot_be_undone_asks_for_the_name(verb: str) -> None:
    """In a script `--yes`; at a terminal the name; else nothing happens."""
    irg("keys", "create", "alice")
    before = irg("keys", "show", "alice", "--json").json
    refused = irg("keys", verb, "alice")
    assert (refused.code, refused.out) == (2, "")
    assert "--yes" in refused.err
    assert irg("keys", verb, "alice", typed="alicia\n").code == 1
    assert irg("keys", "show", "alice", "--json").json == before
    done = irg("keys", verb, "alice", typed="alice\n")
    assert done.code == 0
    after = irg("keys", "show", "alice", "--json").json
    assert after != before
    if verb == "rotate":
        assert is_secret(done.out.removesuffix("\n"))
        assert irg("keys", verb, "alice", "--yes", "--json").json["secret"] != done.out.strip()
    else:
        assert after["state"] == "revoked"
        assert irg("keys", verb, "alice", "--yes").code == 0


def test_a_grace_of_no_time_is_none() -> None:
    """However it is written, the old secret ends at once: that is asked first."""
    irg("keys", "create", "alice")
    for none in ("0", "0h", "00d"):
        assert irg("keys", "rotate", "alice", "--grace", none).code == 2
        assert "The old secret ended." in irg("keys", "rotate", "alice", "--grace", none, "--yes").err


def test_rotate_with_a_grace_asks_nobody() -> None:
    """The old secret works on, so nothing is lost."""
    irg("keys", "create", "alice")
    rotated = irg("keys", "rotate", "alice", "--grace", "24h")
    assert is_secret(rotated.out.removesuffix("\n"))
    assert "24h" in rotated.err


def test_a_budget_of_one_period_leaves_the_others() -> None:
    """`set` and `unset` touch what they name; `unset` alone ends all, and is asked first."""

    def told(*arguments: str) -> list[str]:
        shape = irg("budget", *arguments, "--json").json
        return [f"{one['amount']}/{one['period']}" for one in shape["budgets"]]

    assert told("set", "500/month", "5/Day") == ["5.00/day", "500.00/month"]
    assert told("set", "$6 / day") == ["6.00/day", "500.00/month"]
    assert told("unset", "month", "--yes") == ["6.00/day"]
    assert irg("budget", "unset").code == 2
    assert told("unset", "--yes") == []


REFUSED = [
    (["keys", "show", "alcie"], 3, "Did you mean alice"),
    (["keys", "revoke", "nobody", "--yes"], 3, "no key"),
    (["keys", "create", "alice"], 4, "Choose another name"),
    (["keys", "create", "bob", "--team", "x"], 3, "irg teams create"),
    (["keys", "create", "a/b"], 2, "support-bot"),
    (["keys", "create", "bob", "--expires", "soon"], 2, "not a time"),
    (["keys", "create", "bob", "--budget", "45"], 2, "AMOUNT/PERIOD"),
    (["keys", "create", "bob", "--budget", "5/day", "--budget", "6/day"], 2, "give one"),
    (["keys", "create", "bob", "--rpm", "0"], 2, "from 1 to"),
    (["keys", "set", "alice", "--rpm", "5", "--no-rpm"], 2, "not both"),
    (["keys", "set", "alice", "--budget", "5/day", "--no-budgets"], 2, "not both"),
    (["budget", "set", "500"], 2, "AMOUNT/PERIOD"),
    (["budget", "unset", "year"], 3, "irg budget show"),
    (["keys", "create"], 2, "NAME"),
    (["keys", "show", ""], 2, "empty"),
    (["keys", "--limit", "0"], 2, "1 to 1000"),
    (["keys", "--state", "gone"], 2, "'active'"),
    (["keys", "frobnicate"], 2, "frobnicate"),
    (["teams", "show", "nobody"], 3, "no team"),
    (["frobnicate"], 2, "frobnicate"),
]


def test_each_fault_has_its_exit_code_and_sentence(subtests: pytest.Subtests) -> None:
    """2 usage, 3 not found, 4 conflict; nothing on stdout, no traceback, and nothing was made."""
    irg("keys", "create", "alice")
    before = irg("keys", "--json").json
    for arguments, code, says in REFUSED:
        with subtests.test(arguments=arguments):
            ran = irg(*arguments)
            assert (ran.code, ran.out) == (code, "")
            assert says in ran.err
            assert "Traceback" not in ran.err
    assert irg("keys", "--json").json == before


def test_a_name_with_anything_in_it_is_one_step_of_a_path(directory: Path) -> None:
    """Spaces, percent signs, question marks, other scripts."""
    for name in ("a b", "50%", "why?", "a#b", "ключ", "a&b=c"):
        assert irg("keys", "create", name).code == 0
        assert irg("keys", "disable", name, "--json").json["name"] == name


def test_teams_are_listed_and_shown() -> None:
    """With how many keys belong to each; pages go on behind their cursor."""
    for name in ("growth", "sales"):
        assert irg("teams", "create", name).code == 0
    irg("keys", "create", "alice", "--team", "sales")
    assert [row[:2] for row in irg("teams").cells] == [["growth", "0"], ["sales", "1"]]
    assert dict(irg("teams", "show", "sales").cells)["keys"] == "1"
    assert irg("teams", "create", "sales").code == 4
    first = irg("teams", "--limit", "1")
    assert ([row[0] for row in first.cells], "--after 'growth'" in first.err) == (["growth"], True)


def test_a_secret_can_be_piped_in() -> None:
    """As another gateway printed it: create and rotate take it, and print it, so that a third can have it too."""
    secret, other = new_secret().text, new_secret().text
    assert irg("keys", "create", "alice", "--secret-stdin", typed=secret + "\n").out.strip() == secret
    rotated = irg("keys", "rotate", "alice", "--grace", "24h", "--secret-stdin", typed=other + "\n")
    assert rotated.out.strip() == other
    again = irg("keys", "create", "bob", "--secret-stdin", typed=secret)
    assert (again.code, again.out) == (4, "")
    assert "alice" in again.err
    assert secret not in again.err
    nothing = irg("keys", "create", "bob", "--secret-stdin", typed="")
    assert (nothing.code, nothing.out) == (2, "")
    assert "--secret-stdin" in nothing.err
