// The OpenAI Agents SDK for JavaScript: an agent with a tool, one that streams, a second turn by previousResponseId.
import { Agent, OpenAIResponsesModel, run, setTracingDisabled, tool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";
import { askEach, model as name, question } from "./targets.mjs";

setTracingDisabled(true); // it would go to another host

async function converse({ baseURL, apiKey }) {
  const model = new OpenAIResponsesModel(new OpenAI({ baseURL, apiKey, maxRetries: 0 }), name);
  const cities = [];
  const get_weather = tool({
    name: "get_weather",
    description: "The weather of a city.",
    parameters: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      cities.push(city);
      return `21 degrees in ${city}`;
    },
  });
  const forecaster = new Agent({ name: "Forecaster", instructions: "Be brief.", model, tools: [get_weather] });
  const talker = new Agent({ name: "Talker", instructions: "Be brief.", model });
  const first = await run(forecaster, question);
  const second = await run(talker, "And tomorrow?", { previousResponseId: first.lastResponseId });
  const streaming = await run(talker, "Say hello", { stream: true });
  const deltas = [];
  for await (const delta of streaming.toTextStream()) deltas.push(delta);
  await streaming.completed;
  return {
    tool: cities,
    text: first.finalOutput,
    second: second.finalOutput,
    deltas,
    streamed: streaming.finalOutput,
  };
}

await askEach(converse);
