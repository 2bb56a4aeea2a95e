import os

from openai import OpenAI

client = OpenAI(
    api_key=os.environ["API_KEY"],
    base_url=os.environ["BASE_URL"],
)

response = client.responses.create(
    model="openai/gpt-4o-mini",
    input="Write a haiku about the ocean.",
)

print(response.output_text)
