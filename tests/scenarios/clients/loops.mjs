// Two turns with a function, in every way in which a program can go on: prints what each said as one line of JSON.
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const model = "openai/gpt-4o-mini";
const tools = [
  {
    type: "function",
    name: "get_weather",
    description: "The weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    strict: false,
  },
];
const question = { role: "user", content: "Is it raining?" };

async function respond(apiKey, stream, body) {
  const client = new OpenAI({ apiKey, baseURL: process.env.BASE_URL, maxRetries: 0 });
  const answer = await client.responses.create({ model, tools, stream, ...body });
  if (!stream) return answer;
  let end;
  for await (const event of answer) if (event.type === "response.completed") end = event.response;
  return end;
}

// What the second turn sends, by the way in which it goes on.
function turns(first) {
  const [call] = first.output;
  const result = { type: "function_call_output", call_id: call.call_id, output: "no rain" };
  return {
    previous: { previous_response_id: first.id, input: [result] },
    referred: { input: [question, { type: "item_reference", id: call.id }, result] },
    bare: { input: [question, { id: call.id }, result] },
    whole: { input: [question, ...first.output, result], store: false },
  };
}

async function said(apiKey, stream, body) {
  try {
    const { output } = await respond(apiKey, stream, body);
    return output[0].content[0].text;
  } catch (error) {
    if (!(error instanceof OpenAI.BadRequestError)) throw error;
    return `${error.status} ${error.code} ${error.param}`;
  }
}

const installed = new URL("./node_modules/openai/package.json", import.meta.url);
const met = { version: JSON.parse(readFileSync(installed)).version };
for (const stream of [false, true]) {
  const mine = await respond(process.env.API_KEY, stream, { input: [question] });
  for (const whose of ["API_KEY", "OTHER_KEY"]) {
    const steps = (met[`${whose} ${stream ? "streamed" : "plain"}`] = {});
    for (const [way, body] of Object.entries(turns(mine))) steps[way] = await said(process.env[whose], stream, body);
  }
}
console.log(JSON.stringify(met));
