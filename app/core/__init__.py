"""The pure floor: money, keys, headers, event streams, records. Standard library only, but for
the decoder of `plain_answer`; no I/O, no asyncio."""
