import OpenAI from 'openai'

const client = new OpenAI({
  apiKey: process.env.API_KEY,
  baseURL: process.env.BASE_URL,
})

const stream = await client.responses.create({
  model: 'openai/gpt-4o-mini',
  input: 'Write a haiku about the ocean.',
  stream: true,
})

for await (const event of stream) {
  if (event.type === 'response.output_text.delta') process.stdout.write(event.delta)
}
