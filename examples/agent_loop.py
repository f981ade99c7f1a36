"""What an agent does in a sandbox: a conversation on a terminal, a test that is refused
something, the rule that allows it, and on.

    PYTHONPATH=sdk/python/src python3 examples/agent_loop.py
"""

import asyncio
import os
import tempfile

import pinfold


async def repl(session: pinfold.Session) -> None:
    process = await session.start(["python3", "-i", "-q"], terminal=(24, 80))
    await process.write(b"sum(range(10))\n")
    seen = b""
    async for chunk in process.output():
        seen += chunk.data
        if b"45" in seen:
            await process.write(b"\x04")
    assert b"45" in seen, seen
    print("the interpreter answered 45")
    await process.wait()


async def main() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as base:
        work, other = os.path.join(base, "work"), os.path.join(base, "other")
        os.mkdir(work)
        os.mkdir(other)
        test = ["sh", "-c", f"mkdir {other}/cache && echo test passed"]
        async with pinfold.Client.start() as client:
            rules: dict[str, list[str]] = {}
            for attempt in range(1, 4):
                session = await client.start_session(directory=work, denials="writes", **rules)
                if attempt == 1:
                    await repl(session)
                done = await session.run(test)
                print(f"attempt {attempt}: status {done.code}", done.stdout.decode().strip())
                await session.stop()
                for denial in done.denials:
                    print(f"  denied {denial.attempted} {denial.target}: {denial.rule}")
                    # Where credentials are kept, a person decides.
                    if denial.allow is not None and not denial.secret:
                        print(f"  adds --{denial.allow.option} {denial.allow.value}")
                        rules.setdefault(denial.allow.parameter, []).append(denial.allow.value)
                if done.code == 0:
                    break
            assert done.code == 0 and attempt == 2 and os.path.isdir(f"{other}/cache")


asyncio.run(main())
