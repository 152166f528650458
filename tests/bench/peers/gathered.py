"""An asyncio script, 80 rows at once: the openai library, and an UPDATE committed for each row."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from openai import AsyncOpenAI
from psycopg_pool import AsyncConnectionPool

from tests.bench.peers.turns import DATABASE, REQUEST, turns

AT_ONCE = 80
CONNECTIONS = 10  # needed for the UPDATE alone; 20 were no faster


async def work(client: AsyncOpenAI, pool: AsyncConnectionPool, rows: Iterator[tuple[str, str]]) -> None:
    """Take rows from the others' iterator until there are none."""
    for row_id, text in rows:
        answer = await client.responses.create(**REQUEST, input=text)
        async with pool.connection() as connection:
            await connection.execute(
                "UPDATE rows SET text = %s, response_id = %s, output_tokens = %s, done_at = now() WHERE id = %s",
                (answer.output_text, answer.id, answer.usage and answer.usage.output_tokens, row_id),
            )


async def main() -> None:
    """Ask for every row without an answer, 80 at once."""
    client = AsyncOpenAI()
    kept = {"autocommit": True}
    async with AsyncConnectionPool(DATABASE, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=kept) as pool:
        for _ in turns():
            async with pool.connection() as connection:
                found = await connection.execute("SELECT id, input FROM rows WHERE done_at IS NULL ORDER BY id")
                rows = iter(await found.fetchall())
            await asyncio.gather(*(work(client, pool, rows) for _ in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main())
