"""pgqueuer, 80 jobs at once: a job for each row, the openai library, and an UPDATE committed for each row."""

from __future__ import annotations

import asyncio
import json

import asyncpg
from openai import AsyncOpenAI
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from tests.bench.peers.turns import DATABASE, REQUEST, turns

AT_ONCE = 80
CONNECTIONS = 10
BATCH = 10  # its own default, jobs fetched by one statement; 20 were no faster, 40 slower


async def main() -> None:
    """Put a job in the queue for every row without an answer, and work until the queue is empty."""
    client = AsyncOpenAI()
    async with asyncpg.create_pool(DATABASE, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        await PgQueuer.from_asyncpg_pool(pool).qm.queries.install()
        for _ in turns():
            worker = PgQueuer.from_asyncpg_pool(pool)

            @worker.entrypoint("enrich")
            async def enrich(job: Job) -> None:
                row = json.loads(job.payload or b"")
                answer = await client.responses.create(**REQUEST, input=row["input"])
                await pool.execute(
                    "UPDATE rows SET text = $1, response_id = $2, output_tokens = $3, done_at = now() WHERE id = $4",
                    answer.output_text, answer.id, answer.usage and answer.usage.output_tokens, row["id"],
                )  # fmt: skip

            rows = await pool.fetch("SELECT id, input FROM rows WHERE done_at IS NULL ORDER BY id")
            jobs = [json.dumps(dict(row)).encode() for row in rows]
            await Queries(worker.connection).enqueue(["enrich"] * len(jobs), jobs, [0] * len(jobs))
            await worker.run(mode=QueueExecutionMode.drain, batch_size=BATCH, max_concurrent_tasks=AT_ONCE)


if __name__ == "__main__":
    asyncio.run(main())
