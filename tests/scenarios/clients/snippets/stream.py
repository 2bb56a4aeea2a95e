import os

from openai import OpenAI

client = OpenAI(
    api_key=os.environ["API_KEY"],
    base_url=os.environ["BASE_URL"],
)

stream = client.responses.create(
    model="openai/gpt-4o-mini",
    input="Write a haiku about the ocean.",
    stream=True,
)

for event in stream:
    if event.type == "response.output_text.delta":
        print(event.delta, end="")
