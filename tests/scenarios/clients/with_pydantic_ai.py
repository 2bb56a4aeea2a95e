"""Pydantic AI over the Responses API: an agent with a tool, one that streams, structured output."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.scenarios.clients.targets import MODEL, QUESTION, Target, ask_each


class Weather(BaseModel):
    city: str
    degrees: int


async def converse(target: Target) -> dict[str, Any]:
    cities: list[str] = []
    model = OpenAIResponsesModel(MODEL, provider=OpenAIProvider(base_url=target.base_url, api_key=target.api_key))
    agent = Agent(model)

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather of a city."""
        cities.append(city)
        return f"21 degrees in {city}"

    answered = await agent.run(QUESTION)
    async with Agent(model).run_stream("Say hello") as streaming:
        deltas = [delta async for delta in streaming.stream_text(delta=True, debounce_by=None)]
    structured = await Agent(model, output_type=NativeOutput(Weather)).run("The weather as JSON, please.")
    return {
        "tool": cities,
        "text": answered.output,
        "deltas": deltas,
        "streamed": "".join(deltas),
        "structured": structured.output.model_dump(),
        "usage": [answered.usage.requests, answered.usage.input_tokens, answered.usage.output_tokens],
    }


ask_each(lambda target: asyncio.run(converse(target)))
