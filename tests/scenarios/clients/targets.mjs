// What the scripts of the frameworks share: see targets.py.
export const model = "openai/gpt-4o-mini";
export const question = "What is the weather in Paris?";

export async function askEach(ask) {
  const told = [];
  for (const { base_url: baseURL, api_key: apiKey } of JSON.parse(process.env.TARGETS)) {
    told.push(await ask({ baseURL, apiKey }));
  }
  console.log(JSON.stringify(told));
}
