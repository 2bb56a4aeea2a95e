// Everything that a program does with the Node SDK, once; prints what it met as one line of JSON.
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const model = "openai/gpt-4o-mini";
const tool = {
  type: "function",
  name: "get_weather",
  description: "The weather of a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  strict: false,
};
const apiKey = process.env.API_KEY;
const baseURL = process.env.BASE_URL;
const client = new OpenAI({ apiKey, baseURL, maxRetries: 0 });

async function plain() {
  const response = await client.responses.create({ model, input: "Say hello" });
  const { id, output_text: text, usage, _request_id: request_id } = response;
  return { text, cost: usage.cost, id, request_id };
}

// A base URL that ends in /v1.
async function short_base_url() {
  const short = new OpenAI({ apiKey, baseURL: process.env.SHORT_BASE_URL, maxRetries: 0 });
  const response = await short.responses.create({ model, input: "Say hello" });
  return { text: response.output_text, id: response.id };
}

async function streamed() {
  const deltas = [];
  let end;
  for await (const event of await client.responses.create({ model, input: "Say hello", stream: true })) {
    if (event.type === "response.output_text.delta") deltas.push(event.delta);
    if (event.type === "response.completed") end = event.response;
  }
  return { deltas, text: end.output[0].content[0].text, cost: end.usage.cost, id: end.id };
}

// The SDK's helpers, which follow the events and read the text themselves.
async function helped() {
  const response = await client.responses.stream({ model, input: "Say hello" }).finalResponse();
  const schema = {
    type: "object",
    properties: { city: { type: "string" }, degrees: { type: "integer" } },
    required: ["city", "degrees"],
    additionalProperties: false,
  };
  const text = { format: { type: "json_schema", name: "weather", strict: true, schema } };
  const parsed = await client.responses.parse({ model, input: "Say hello", text });
  return { text: response.output[0].content[0].text, parsed: parsed.output_parsed };
}

// Leaves in the middle of a stream, seconds before its end.
async function aborted() {
  let id;
  let deltas = 0;
  const stream = await client.responses.create({ model: "sim/stream-pause:100", input: "Say hello", stream: true });
  for await (const event of stream) {
    if (event.type === "response.created") id = event.response.id;
    if (event.type === "response.output_text.delta" && ++deltas === 3) break;
  }
  return { id };
}

// The model calls a function, and hears what came of it in a second turn.
async function called() {
  const first = await client.responses.create({ model, input: "Is it raining?", tools: [tool] });
  const call = first.output[0];
  const second = await client.responses.create({
    model,
    previous_response_id: first.id,
    input: [{ type: "function_call_output", call_id: call.call_id, output: "no rain" }],
    tools: [tool],
  });
  return { called: call.name, text: second.output_text, ids: [first.id, second.id] };
}

async function errorOf(client, body) {
  try {
    const answer = await client.responses.create({ model, input: "hi", ...body });
    if (body.stream) for await (const event of answer) void event;
  } catch (error) {
    return { class: error.constructor.name, status: error.status, code: error.code, text: error.message };
  }
  throw new Error("no error was raised");
}

// Errors of the gateway, and one of the upstream, with the SDK's own retries.
async function refused() {
  const stranger = new OpenAI({ apiKey: "irg_wrong", baseURL });
  const lost = new OpenAI({ apiKey, baseURL: process.env.SHORT_BASE_URL + "/wrong" });
  return {
    "wrong key": await errorOf(stranger, {}),
    "wrong key, streamed": await errorOf(stranger, { stream: true }),
    "wrong path": await errorOf(lost, {}),
    "foreign response": await errorOf(client, { previous_response_id: "resp_of_somebody_else" }),
    upstream: await errorOf(client, { model: "sim/400" }),
  };
}

// The upstream breaks off inside its answer; nothing is sent again, although the SDK would.
async function broken() {
  const lasting = new OpenAI({ apiKey, baseURL });
  return {
    plain: await errorOf(lasting, { model: "sim/cut-midstream" }),
    streamed: await errorOf(lasting, { model: "sim/cut-midstream", stream: true }),
  };
}

// The upstream is overloaded, and the SDK tries again as it does by itself.
async function retried() {
  return await errorOf(new OpenAI({ apiKey, baseURL }), { model: "sim/503" });
}

const all = [plain, short_base_url, streamed, helped, aborted, called, refused, broken];
const steps = process.argv[2] === "retried" ? [retried] : all;
const installed = new URL("./node_modules/openai/package.json", import.meta.url);
const met = { version: JSON.parse(readFileSync(installed)).version };
for (const step of steps) met[step.name] = await step();
console.log(JSON.stringify(met));
