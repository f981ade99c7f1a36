"""What an agent does in a sandbox: a conversation on a terminal, a test that is refused
something, the rule that allows it, and on.

    PYTHONPATH=sdk/python/src python3 examples/agent_loop.py
"""

import asyncio
import os
import tempfile

import pinfold

TEST = "mkdir -p cache && echo result >cache/file && echo test passed"


async def repl(session: pinfold.Session) -> None:
    process = await session.start(["python3", "-i", "-q"], terminal=(24, 80))
    await process.write(b"sum(range(10))\n")
    seen = b""
    async for chunk in process.output():
        seen += chunk.data
        if b"45" in seen:
            await process.write(b"\x04")
    print("the interpreter answered", "45" if b"45" in seen else seen)
    await process.wait()


async def main() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as base:
        work, other = os.path.join(base, "work"), os.path.join(base, "other")
        os.mkdir(work)
        os.mkdir(other)
        async with pinfold.Client.start() as client:
            session = await client.start_session(directory=work)
            await repl(session)
            refused = await session.run(["sh", "-c", TEST], directory=other)
            print("the test ended with", refused.code, refused.stderr.decode().strip())
            print(await session.explain(other))
            await session.stop()
            session = await client.start_session(directory=work, write=[other])
            passed = await session.run(["sh", "-c", TEST], directory=other)
            print("with --write:", passed.code, passed.stdout.decode().strip())


asyncio.run(main())
