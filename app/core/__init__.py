"""The pure floor: money, keys, headers, event streams, records. Standard library only, no I/O, no asyncio."""
