"""The Python SDK as it comes, with its own retries, where the gateway refuses: what its user sees in the end.

`CASES` is a list of name, base_url, api_key, body, and whether to stream: true, false, or both. All are asked at once.
Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import openai


async def ask(case: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    async with openai.AsyncOpenAI(base_url=case["base_url"], api_key=case["api_key"]) as client:
        try:
            answer: Any = await client.responses.create(input="hi", stream=stream, **case["body"])
            if not stream:
                return {"text": answer.output_text}
            deltas = [event.delta async for event in answer if event.type == "response.output_text.delta"]
            return {"text": "".join(deltas)}
        except openai.APIError as error:
            return {"error": type(error).__name__, "text": str(error)}


async def ask_all() -> dict[str, Any]:
    cases = [(case, stream) for case in json.loads(os.environ["CASES"]) for stream in case["streams"]]
    told = await asyncio.gather(*(ask(case, stream=stream) for case, stream in cases))
    met: dict[str, Any] = {case["name"]: {} for case, _ in cases}
    for (case, stream), one in zip(cases, told, strict=True):
        met[case["name"]]["streamed" if stream else "plain"] = one
    return met


print(json.dumps({"version": openai.__version__, "met": asyncio.run(ask_all())}))
