// The Node SDK as it comes, with its own retries, where the gateway refuses: see refused_sdk.py.
import { readFileSync } from "node:fs";
import OpenAI from "openai";

async function ask({ base_url: baseURL, api_key: apiKey, body }, stream) {
  try {
    const answer = await new OpenAI({ baseURL, apiKey }).responses.create({ input: "hi", stream, ...body });
    if (!stream) return { text: answer.output_text };
    let text = "";
    for await (const event of answer) if (event.type === "response.output_text.delta") text += event.delta;
    return { text };
  } catch (error) {
    return { error: error.constructor.name, text: error.message };
  }
}

const met = {};
const asking = JSON.parse(process.env.CASES).flatMap((one) => {
  met[one.name] = {};
  return one.streams.map(async (stream) => {
    met[one.name][stream ? "streamed" : "plain"] = await ask(one, stream);
  });
});
await Promise.all(asking);
const installed = new URL("./node_modules/openai/package.json", import.meta.url);
console.log(JSON.stringify({ version: JSON.parse(readFileSync(installed)).version, met }));
