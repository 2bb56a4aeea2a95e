import OpenAI from 'openai'

const client = new OpenAI({
  apiKey: process.env.API_KEY,
  baseURL: process.env.BASE_URL,
})

const response = await client.responses.create({
  model: 'openai/gpt-4o-mini',
  input: 'Write a haiku about the ocean.',
})

console.log(response.output_text)
