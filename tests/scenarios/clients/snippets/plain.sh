curl "$BASE_URL/responses" \
-H "Authorization: Bearer $API_KEY" \
--json '{
  "model": "openai/gpt-4o-mini",
  "input": "Write a haiku about the ocean."
}'
