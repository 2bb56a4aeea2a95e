"""Instructor over the Responses API: a Pydantic model out of a text."""

from __future__ import annotations

from typing import Any

import instructor
from openai import OpenAI
from pydantic import BaseModel

from tests.scenarios.clients.targets import MODEL, QUESTION, Target, ask_each


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int


def converse(target: Target) -> dict[str, Any]:
    openai = OpenAI(base_url=target.base_url, api_key=target.api_key, max_retries=0)
    client = instructor.from_openai(openai, mode=instructor.Mode.RESPONSES_TOOLS)
    weather = client.responses.create(model=MODEL, input=QUESTION, response_model=Weather)
    return {"structured": weather.model_dump()}


ask_each(converse)
