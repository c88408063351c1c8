"""An error that one process tells another is the same error there."""

from __future__ import annotations

import msgspec
import pytest

from penstock import errors
from penstock.cli.exits import describe
from penstock.error_form import KINDS, ErrorForm, error_of, raise_form, to_form
from penstock.errors import AmbiguousError, MergeConflictError, PenstockError, UnreadableError
from penstock.wire import NoMessageError, decode_message, encode_message

NAMED = AmbiguousError | MergeConflictError | UnreadableError


def made(kind: type[PenstockError]) -> PenstockError:
    if issubclass(kind, NAMED):
        return kind("what\udcff", why="why", fix="fix", candidates=["a", "b\udc80\n"])
    return kind("what\udcff", why="why", fix="fix")


def test_every_class_has_a_kind() -> None:
    assert set(KINDS.values()) == {getattr(errors, name) for name in errors.__all__}


@pytest.mark.parametrize("kind", KINDS.values())
def test_an_error_comes_out_of_the_wire_as_it_went_in(kind: type[PenstockError]) -> None:
    error = made(kind)
    body = encode_message(to_form(error))
    assert body.isascii()
    assert body.endswith(b"\n")
    with pytest.raises(kind) as raised:
        raise_form(decode_message(body, ErrorForm))
    assert type(raised.value) is kind
    assert vars(raised.value) == vars(error)
    assert describe(raised.value).form == describe(error).form


def test_a_class_without_a_name_goes_by_the_one_above_it() -> None:
    class BusyError(errors.ConflictError):
        pass

    assert to_form(BusyError("busy")).kind == "conflict"


def test_a_kind_of_a_later_version_is_still_an_error_with_its_words() -> None:
    error = error_of(ErrorForm("of_tomorrow", "what", "why", "fix"))
    assert type(error) is PenstockError
    assert str(error) == "what: why. fix"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"kind":1,"what":"x"}', b'{"what":"x"}', b"[" * 100_000, b"\xff",
     b'{"kind":"usage","what":"x","candidates":"ab"}', b'{"kind":"usage","what":null}'],
)  # fmt: skip
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(NoMessageError):
        decode_message(body, ErrorForm)


def test_a_message_with_another_tag_is_refused() -> None:
    class One(msgspec.Struct, tag="one"):
        number: int

    class Two(msgspec.Struct, tag="two"):
        number: int

    assert decode_message(encode_message(Two(3)), One | Two) == Two(3)
    with pytest.raises(NoMessageError):
        decode_message(encode_message(Two(3)), One)
