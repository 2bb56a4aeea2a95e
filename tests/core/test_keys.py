"""Team keys: well-formed ones are recognised, mistyped ones never, and the secret is never printed by accident."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.keys import SHOWN_CHARACTERS, hash_secret, is_secret, new_secret, parse_bearer, shown_text

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
SECRET = new_secret().text


def test_a_new_secret_is_well_formed() -> None:
    """`irg_`, 10 characters of public id, 52 of secret, 7 of checksum."""
    secret = new_secret()
    assert secret.text.startswith("irg_")
    assert len(secret.text) == 4 + 10 + 52 + 7
    assert set(secret.text[4:]) <= set(ALPHABET)
    assert is_secret(secret.text)


def test_secrets_are_random_throughout() -> None:
    """Of 200 secrets none shares its public id or its secret part with another, and every character occurs."""
    made = [new_secret().text for _ in range(200)]
    assert len({text[4:14] for text in made}) == len({text[14:66] for text in made}) == 200
    assert {character for text in made for character in text[14:66]} == set(ALPHABET)


def test_only_the_beginning_is_shown() -> None:
    """Four characters behind the prefix tell keys apart; the other 58 random ones stay unknown."""
    secret = new_secret()
    assert secret.prefix == secret.text[:SHOWN_CHARACTERS]
    assert len(secret.prefix) == len("irg_02ff")


def test_a_secret_is_never_printed_by_accident() -> None:
    """Neither repr, str, a format nor the repr of what holds it shows the text or the hash."""
    secret = new_secret()
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", repr([secret]), repr({"key": secret})):
        assert secret.text not in shown
        assert secret.text[SHOWN_CHARACTERS:20] not in shown
        assert secret.hash not in shown


def test_a_secret_cannot_be_changed() -> None:
    """Text and hash always belong together."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        new_secret().text = SECRET  # type: ignore[misc]


def test_the_hash_is_sha_256_of_the_text() -> None:
    """What is stored can be recomputed by anybody who has the secret, and by nobody else."""
    secret = new_secret()
    assert secret.hash == hash_secret(secret.text) == hashlib.sha256(secret.text.encode()).hexdigest()
    assert pickle.loads(pickle.dumps(secret)) == secret


@given(st.integers(4, len(SECRET) - 1), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_always_noticed(position: int, character: str) -> None:
    """Wherever it stands, also in the checksum itself."""
    mistyped = SECRET[:position] + character + SECRET[position + 1 :]
    assert is_secret(mistyped) == (mistyped == SECRET)
    assert (parse_bearer(b"Bearer " + mistyped.encode()) is None) == (mistyped != SECRET)


@given(st.integers(4, len(SECRET) - 2))
def test_two_swapped_characters_are_always_noticed(position: int) -> None:
    """The commonest slip of the pen."""
    swapped = SECRET[:position] + SECRET[position + 1] + SECRET[position] + SECRET[position + 2 :]
    assert is_secret(swapped) == (swapped == SECRET)


@given(st.integers(0, len(SECRET) - 1))
def test_a_cut_or_lengthened_secret_is_refused(length: int) -> None:
    """The length is fixed."""
    assert not is_secret(SECRET[:length])
    assert not is_secret(SECRET[:length] + "0" + SECRET[length:])


@pytest.mark.parametrize(
    "text",
    [
        SECRET.upper(),
        "IRG_" + SECRET[4:],
        "irg_" + SECRET[4:].upper(),
        SECRET + "\n",
        " " + SECRET,
        SECRET.replace("_", "-"),
        "",
        "irg_",
        "sk-" + "x" * 70,
        "irg_" + "l" * 69,
        "irg_" + "٣" * 69,
        "irg_" + "0" * 100000,
    ],
    ids=[
        "upper",
        "prefix",
        "body",
        "newline",
        "space",
        "dash",
        "empty",
        "bare",
        "foreign",
        "letter-l",
        "digits",
        "zeros",
    ],
)
def test_another_case_or_alphabet_is_refused(text: str) -> None:
    """One spelling only: a hash of another one would find nothing anyway."""
    assert not is_secret(text)
    assert parse_bearer(b"Bearer " + text.encode()) is None or text.strip() == SECRET


@pytest.mark.parametrize(
    "form", [b"Bearer %s", b"bearer %s", b"BEARER %s", b"Bearer   %s", b"Bearer %s ", b"Bearer %s\t"]
)
def test_the_secret_is_found_in_an_authorization_header(form: bytes) -> None:
    """The scheme has no case, and white space around it means nothing (RFC 9110 §11)."""
    assert parse_bearer(form % SECRET.encode()) == SECRET


@pytest.mark.parametrize(
    "form",
    [
        b"%s",
        b"Basic %s",
        b"Bearer%s",
        b"Bearer\t%s",
        b"Bearer %s,",
        b"Bearer %s %s",
        b"Bearer x%s",
        b"Bearer %sx",
        b" Bearer %s",
        b"Bearer %s\n",
        b"Bearer %s\r\nX: y",
        b"Bearer %s\x00",
        b"Bearer \x00%s",
        b'Bearer "%s"',
    ],
)
def test_anything_else_around_it_is_refused(form: bytes) -> None:
    """A header is a scheme and one token, nothing more."""
    assert parse_bearer(form.replace(b"%s", SECRET.encode())) is None


def test_no_header_is_no_secret() -> None:
    """Absent and empty alike."""
    assert parse_bearer(None) is None
    assert parse_bearer(b"") is None


@given(st.binary(max_size=200))
def test_no_header_value_is_an_error(value: bytes) -> None:
    """Whatever bytes come, the answer is a secret or None."""
    assert parse_bearer(value) is None
    assert parse_bearer(b"Bearer " + value) is None
    assert parse_bearer(b"Bearer irg_" + value) is None


def test_a_secret_given_for_a_name_is_not_said_back() -> None:
    """Whole, cut or inside other words, only its beginning is shown; a name stays as it is."""
    secret = new_secret().text
    for text in (secret, secret[:40], f"key {secret}!"):
        assert secret[8:20] not in shown_text(text)
        assert f"{secret[:8]}…" in shown_text(text)
    assert shown_text("irg_team-of-alice") == "irg_team-of-alice"
