"""LiteLLM as a client library, over the Responses API: plain, streamed, a tool's two turns."""

from __future__ import annotations

from typing import Any

import litellm

from tests.scenarios.clients.targets import MODEL, QUESTION, Target, ask_each

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def converse(target: Target) -> dict[str, Any]:
    def ask(**fields: Any) -> Any:
        # Its own "openai/" names the provider; the model's name comes after it.
        return litellm.responses(
            model=f"openai/{MODEL}", api_base=target.base_url, api_key=target.api_key, num_retries=0, **fields
        )

    plain = ask(input="Say hello")
    deltas = [
        event.delta for event in ask(input="Say hello", stream=True) if event.type == "response.output_text.delta"
    ]
    first = ask(input=QUESTION, tools=[TOOL])
    call = first.output[0]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
    second = ask(previous_response_id=first.id, input=[result], tools=[TOOL])
    return {
        "text": plain.output_text,
        "deltas": deltas,
        "streamed": "".join(deltas),
        "tool": [call.name, call.arguments],
        "second": second.output_text,
        "usage": [plain.usage.input_tokens, plain.usage.output_tokens],
    }


ask_each(converse)
