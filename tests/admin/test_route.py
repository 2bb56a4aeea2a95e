"""The way through every route: what is made of it, and when."""

from __future__ import annotations

import pytest

from app.admin.route import LateRoute
from tests.admin.books import Books


def _made(books: Books) -> set[str]:
    """Paths of the routes that are whole."""
    return {route.path for route in books.app.routes if isinstance(route, LateRoute) and "dependant" in vars(route)}


async def test_a_route_is_made_when_it_is_asked_for(books: Books) -> None:
    """A start makes none; a request makes its own."""
    assert _made(books) == set()
    await books.get("keys")
    await books.get("keys")
    assert _made(books) == {"/admin/v1/keys"}
    assert (await books.client.get("/openapi.json")).status_code == 200
    assert len(_made(books)) > 20


async def test_a_route_has_what_its_framework_gives_it_and_nothing_else(books: Books) -> None:
    """Made or not."""
    route = next(route for route in books.app.routes if isinstance(route, LateRoute))
    for _ in range(2):
        with pytest.raises(AttributeError, match="nothing_of_the_kind"):
            _ = route.nothing_of_the_kind
    assert route.name
