"""LangChain's ChatOpenAI over the Responses API: plain, streamed, a tool's two turns, structured output."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.scenarios.clients.targets import MODEL, QUESTION, Target, ask_each


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


def converse(target: Target) -> dict[str, Any]:
    model = ChatOpenAI(
        model=MODEL, base_url=target.base_url, api_key=target.api_key, use_responses_api=True, max_retries=0
    )
    plain = model.invoke("Say hello")
    chunks = [chunk.text for chunk in model.stream("Say hello")]
    equipped = ChatOpenAI(
        model=MODEL,
        base_url=target.base_url,
        api_key=target.api_key,
        use_responses_api=True,
        use_previous_response_id=True,
        max_retries=0,
    ).bind_tools([get_weather])
    asked = HumanMessage(QUESTION)
    called = equipped.invoke([asked])
    (call,) = called.tool_calls
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    answered = equipped.invoke([asked, called, result])
    structured = model.with_structured_output(Weather, method="json_schema").invoke("The weather as JSON, please.")
    return {
        "text": plain.text,
        "deltas": [chunk for chunk in chunks if chunk],
        "streamed": "".join(chunks),
        "tool": call["args"],
        "second": answered.text,
        "structured": structured.model_dump(),
        "usage": plain.usage_metadata,
    }


ask_each(converse)
