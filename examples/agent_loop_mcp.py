"""What an agent does with the tools of `pinfold mcp`: a conversation on a terminal, a test that
is refused something, the option that allows it, which the user adds, and on.

    pip install mcp
    python3 examples/agent_loop_mcp.py
"""

import asyncio
import os
import tempfile
from typing import Any

from mcp import Client, StdioServerParameters

PROGRAM = os.environ.get("PINFOLD_PROGRAM", "pinfold")


async def attempt(work: str, options: list[str], test: str, first: bool) -> dict[str, Any]:
    """One server, with the options that the user has agreed to; how the test went."""
    server = StdioServerParameters(command=PROGRAM, args=["mcp", "-C", work, *options])
    async with Client(server) as client:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            answer = await client.call_tool(tool, arguments)
            assert not answer.is_error and answer.structured_content is not None, answer
            return answer.structured_content

        if first:
            size = {"rows": 24, "columns": 80}
            started = await call(
                "start", command=["python3", "-i", "-q"], terminal=size, until=">>> "
            )
            process = started["process"]
            line = "print(sum(range(10)))\n"
            said = await call("write", process=process, text=line, until="45")
            assert said["found"], said
            print("the interpreter answered 45")
            await call("stop", process=process)
        return await call("run", command=test)


async def main() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as base:
        work, other = os.path.join(base, "work"), os.path.join(base, "other")
        os.mkdir(work)
        os.mkdir(other)
        options: list[str] = []
        for number in range(1, 4):
            test = f"mkdir {other}/cache && echo test passed"
            done = await attempt(work, options, test, number == 1)
            print(f"attempt {number}: status {done['exit_status']}", done["output"].strip())
            for denial in done.get("denials", []):
                print(f"  denied {denial['attempted']} {denial['target']}: {denial['rule']}")
                allow = denial["allow"]
                # Where credentials are kept, only a person decides.
                if allow is not None and not denial["secret"]:
                    print(f"  the user adds --{allow['option']} {allow['value']}")
                    options += [f"--{allow['option']}", allow["value"]]
            if done["exit_status"] == 0:
                break
        assert done["exit_status"] == 0 and number == 2 and os.path.isdir(f"{other}/cache")


asyncio.run(main())
