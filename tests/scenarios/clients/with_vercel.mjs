// The Vercel AI SDK over the Responses API: plain, streamed, a tool's two turns, structured output.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { askEach, model, question } from "./targets.mjs";

async function converse({ baseURL, apiKey }) {
  const responses = createOpenAI({ baseURL, apiKey }).responses(model);
  const common = { model: responses, maxRetries: 0 };
  const plain = await generateText({ ...common, prompt: "Say hello" });
  const deltas = [];
  for await (const delta of streamText({ ...common, prompt: "Say hello" }).textStream) deltas.push(delta);
  const cities = [];
  const get_weather = tool({
    description: "The weather of a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      cities.push(city);
      return `21 degrees in ${city}`;
    },
  });
  const answered = await generateText({
    ...common,
    prompt: question,
    tools: { get_weather },
    stopWhen: stepCountIs(3),
  });
  const weather = z.object({ city: z.string(), degrees: z.number().int() });
  const structured = await generateText({
    ...common,
    prompt: "The weather as JSON, please.",
    output: Output.object({ schema: weather }),
  });
  return {
    text: plain.text,
    deltas,
    streamed: deltas.join(""),
    tool: cities,
    second: answered.text,
    structured: structured.output,
    usage: [plain.usage.inputTokens, plain.usage.outputTokens],
  };
}

await askEach(converse);
