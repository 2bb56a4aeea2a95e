"""The OpenAI Agents SDK over several turns: by previous_response_id within a run, and with its items sent back."""

from __future__ import annotations

import asyncio
import json
import os

from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

set_tracing_disabled(True)  # it would go to another host


@function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


async def converse() -> dict[str, str]:
    client = AsyncOpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], max_retries=0)
    model = OpenAIResponsesModel(model="openai/gpt-5", openai_client=client)
    said: dict[str, str] = {}
    for name, settings in (("stored", ModelSettings()), ("unstored", ModelSettings(store=False))):
        agent = Agent(name="Forecaster", model=model, tools=[get_weather], model_settings=settings)
        talker = Agent(name="Talker", model=model, model_settings=settings)
        first = await Runner.run(agent, "Weather in Paris?")
        again = await Runner.run(talker, [*first.to_input_list(), {"role": "user", "content": "Thank you"}])
        said |= {f"{name} first": str(first.final_output), f"{name} again": str(again.final_output)}
    agent = Agent(name="Forecaster", model=model, tools=[get_weather])
    chained = await Runner.run(agent, "Weather in Rome?", auto_previous_response_id=True)
    return {**said, "chained": str(chained.final_output)}


print(json.dumps(asyncio.run(converse())))
