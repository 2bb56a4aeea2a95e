"""The OpenAI Agents SDK: an agent with a tool, one that streams, and a second turn by previous_response_id."""

from __future__ import annotations

import asyncio
from typing import Any

from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

from tests.scenarios.clients.targets import MODEL, QUESTION, Target, ask_each

set_tracing_disabled(True)  # it would go to another host


async def converse(target: Target) -> dict[str, Any]:
    cities: list[str] = []

    @function_tool
    def get_weather(city: str) -> str:
        """The weather of a city."""
        cities.append(city)
        return f"21 degrees in {city}"

    client = AsyncOpenAI(base_url=target.base_url, api_key=target.api_key, max_retries=0)
    model = OpenAIResponsesModel(model=MODEL, openai_client=client)
    agent = Agent(name="Forecaster", instructions="Be brief.", model=model, tools=[get_weather])
    talker = Agent(name="Talker", instructions="Be brief.", model=model)
    first = await Runner.run(agent, QUESTION)
    second = await Runner.run(talker, "And tomorrow?", previous_response_id=first.last_response_id)
    streaming, deltas = Runner.run_streamed(talker, "Say hello"), []
    async for event in streaming.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            deltas.append(event.data.delta)
    usage = first.context_wrapper.usage
    return {
        "tool": cities,
        "text": first.final_output,
        "second": second.final_output,
        "deltas": deltas,
        "streamed": streaming.final_output,
        "usage": [usage.requests, usage.input_tokens, usage.output_tokens],
    }


ask_each(lambda target: asyncio.run(converse(target)))
