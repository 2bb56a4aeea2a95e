"""What `irg connect` prints: for each client, all it needs to work through this gateway.

Lives here: the texts, and how a value stands in each language. Every one of them is run by a test.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping

from app.core.value import Value

_PLACE = re.compile("<([A-Z_]+)>")


class Access(Value, frozen=True):
    """What a client is told."""

    base_url: str  # http://HOST/v1/openai
    key: str
    model: str


class Snippet(Value, frozen=True):
    """`quote` writes a value as the language writes a string."""

    summary: str
    template: str
    quote: Callable[[str], str]

    def fill(self, access: Access) -> str:
        values = {
            "BASE_URL": access.base_url,
            "KEY": access.key,
            "MODEL": access.model,
            "ENDPOINT": f"{access.base_url}/responses",
            "AUTHORIZATION": f"Authorization: Bearer {access.key}",
            "BODY": json.dumps({"model": access.model, "input": "Say hello"}),
        }
        return _PLACE.sub(lambda place: self.quote(values[place[1]]), self.template)


def _double_quoted(value: str) -> str:
    """Python, JavaScript and TOML read JSON's strings alike."""
    return json.dumps(value, ensure_ascii=False)


PYTHON = """\
from openai import OpenAI

client = OpenAI(base_url=<BASE_URL>, api_key=<KEY>)
response = client.responses.create(model=<MODEL>, input="Say hello")
print(response.output_text)
"""

NODE = """\
import OpenAI from "openai";

const client = new OpenAI({ baseURL: <BASE_URL>, apiKey: <KEY> });
const response = await client.responses.create({ model: <MODEL>, input: "Say hello" });
console.log(response.output_text);
"""

CURL = """\
curl --fail-with-body -sS <ENDPOINT> \\
  -H <AUTHORIZATION> \\
  -H "Content-Type: application/json" \\
  -d <BODY>
"""

CODEX = """\
# ~/.codex/config.toml; and in the shell that starts codex: export IRG_KEY=<KEY>
model = <MODEL>
model_provider = "imagerouter-gateway"

[model_providers.imagerouter-gateway]
name = "ImageRouter Gateway"
base_url = <BASE_URL>
env_key = "IRG_KEY"
wire_api = "responses"
request_max_retries = 0  # Codex would repeat what may have been billed
"""

VERCEL = """\
import { createOpenAI } from "@ai-sdk/openai";
import { generateText } from "ai";

const gateway = createOpenAI({ baseURL: <BASE_URL>, apiKey: <KEY> });
const { text } = await generateText({ model: gateway.responses(<MODEL>), prompt: "Say hello" });
console.log(text);
"""

LANGCHAIN = """\
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model=<MODEL>, base_url=<BASE_URL>, api_key=<KEY>, use_responses_api=True)
print(model.invoke("Say hello").text)
"""

ENV = """\
export OPENAI_BASE_URL=<BASE_URL>
export OPENAI_API_KEY=<KEY>
"""

SNIPPETS: Mapping[str, Snippet] = {
    "python": Snippet("the OpenAI SDK for Python (pip install openai)", PYTHON, _double_quoted),
    "node": Snippet("the OpenAI SDK for Node (npm install openai)", NODE, _double_quoted),
    "curl": Snippet("curl", CURL, shlex.quote),
    "codex": Snippet("the Codex CLI (npm install -g @openai/codex)", CODEX, _double_quoted),
    "vercel": Snippet("the Vercel AI SDK (npm install ai @ai-sdk/openai)", VERCEL, _double_quoted),
    "langchain": Snippet("LangChain (pip install langchain-openai)", LANGCHAIN, _double_quoted),
    "env": Snippet("anything that reads OPENAI_BASE_URL and OPENAI_API_KEY", ENV, shlex.quote),
}
