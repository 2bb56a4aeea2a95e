// The Vercel AI SDK as it comes, with its own retries, where the gateway refuses: see refused_sdk.py.
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";

function options({ base_url: baseURL, api_key: apiKey, body }) {
  const previous = body.previous_response_id;
  return {
    model: createOpenAI({ baseURL, apiKey }).responses(body.model),
    prompt: "hi",
    providerOptions: previous ? { openai: { previousResponseId: previous } } : undefined,
  };
}

const told = (error) => ({ error: error.name, text: error.message });

async function plain(one) {
  try {
    return { text: (await generateText(options(one))).text };
  } catch (error) {
    return told(error);
  }
}

async function streamed(one) {
  let text = "";
  for await (const part of streamText({ ...options(one), onError: () => {} }).fullStream) {
    if (part.type === "text-delta") text += part.text;
    if (part.type === "error") return told(part.error);
  }
  return { text };
}

const met = {};
const asking = JSON.parse(process.env.CASES).flatMap((one) => {
  met[one.name] = {};
  return one.streams.map(async (stream) => {
    met[one.name][stream ? "streamed" : "plain"] = await (stream ? streamed : plain)(one);
  });
});
await Promise.all(asking);
const installed = new URL("./node_modules/ai/package.json", import.meta.url);
console.log(JSON.stringify({ version: JSON.parse(readFileSync(installed)).version, met }));
