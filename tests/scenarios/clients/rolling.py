"""A program that never stops asking, with the Python SDK as it is shipped: in threads, plain and streamed.

Keys come in API_KEYS, separated by spaces. Ends when its input does; prints one line of JSON: what was answered, by
response id, and every call that failed, as its error's text.
"""

from __future__ import annotations

import json
import os
import sys
import threading

import openai

THREADS_EACH = 2

stop = threading.Event()
answered: list[str] = []
failed: list[str] = []


def ask(client: openai.OpenAI, *, stream: bool) -> str:
    if not stream:
        return client.responses.create(model="openai/gpt-4o-mini", input="Say hello").id
    with client.responses.stream(model="sim/stream-pause:20", input="Say hello") as events:
        for _ in events:
            pass
        return events.get_final_response().id


def work(key: str, *, stream: bool) -> None:
    client = openai.OpenAI(api_key=key, base_url=os.environ["BASE_URL"])
    while not stop.is_set():
        try:
            answered.append(ask(client, stream=stream))
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
    client.close()


threads = [
    threading.Thread(target=work, args=(key,), kwargs={"stream": number % 2 == 1})
    for key in os.environ["API_KEYS"].split()
    for number in range(THREADS_EACH)
]
for thread in threads:
    thread.start()
print("ready", flush=True)
sys.stdin.read()
stop.set()
for thread in threads:
    thread.join()
print(json.dumps({"answered": answered, "failed": failed}))
