// LangChain.js' ChatOpenAI over the Responses API: plain, streamed, a tool's two turns, structured output.
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";
import { askEach, model as name, question } from "./targets.mjs";

async function converse({ baseURL, apiKey }) {
  const model = new ChatOpenAI({ model: name, apiKey, configuration: { baseURL }, useResponsesApi: true, maxRetries: 0 });
  const plain = await model.invoke("Say hello");
  const deltas = [];
  for await (const chunk of await model.stream("Say hello")) if (chunk.text) deltas.push(chunk.text);
  const get_weather = tool(async ({ city }) => `21 degrees in ${city}`, {
    name: "get_weather",
    description: "The weather of a city.",
    schema: z.object({ city: z.string() }),
  });
  const equipped = model.bindTools([get_weather]);
  const asked = new HumanMessage(question);
  const called = await equipped.invoke([asked]);
  const [call] = called.tool_calls;
  const result = new ToolMessage({ content: await get_weather.invoke(call.args), tool_call_id: call.id });
  const answered = await equipped.invoke([asked, called, result]);
  const weather = z.object({ city: z.string(), degrees: z.number().int() });
  const structured = await model
    .withStructuredOutput(weather, { method: "jsonSchema", name: "weather" })
    .invoke("The weather as JSON, please.");
  return {
    text: plain.text,
    deltas,
    streamed: deltas.join(""),
    tool: call.args,
    second: answered.text,
    structured,
    usage: plain.usage_metadata,
  };
}

await askEach(converse);
