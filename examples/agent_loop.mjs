// What an agent does in a sandbox: a conversation on a terminal, a test that is refused something,
// the rule that allows it, and on. With sdk/typescript packed (npm install && npm run build && npm
// pack) and installed beside this file (npm install pinfold-0.1.0.tgz):
//
//     node agent_loop.mjs
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

import { Client } from "pinfold";

async function repl(session) {
  const process = await session.start(["python3", "-i", "-q"], {
    terminal: { rows: 24, columns: 80 },
  });
  await process.write("sum(range(10))\n");
  let seen = "";
  for await (const chunk of process.output()) {
    seen += chunk.data.toString();
    if (seen.includes("45")) await process.write("\x04");
  }
  assert.ok(seen.includes("45"), seen);
  console.log("the interpreter answered 45");
  await process.wait();
}

const base = mkdtempSync("/var/tmp/pinfold-loop-");
const [work, other] = [join(base, "work"), join(base, "other")];
mkdirSync(work);
mkdirSync(other);
const client = await Client.start();
try {
  const rules = {};
  let attempt = 0;
  for (let code = 1; code !== 0 && attempt < 3; ) {
    attempt += 1;
    const session = await client.startSession({ directory: work, denials: "writes", ...rules });
    if (attempt === 1) await repl(session);
    const done = await session.run(["sh", "-c", `mkdir ${other}/cache && echo test passed`]);
    console.log(`attempt ${attempt}: status ${done.code}`, done.stdout.toString().trim());
    await session.stop();
    for (const { attempted, target, rule, allow, secret } of done.denials) {
      console.log(`  denied ${attempted} ${target}: ${rule}`);
      // Where credentials are kept, a person decides.
      if (allow === null || secret) continue;
      console.log(`  adds ${allow.option} ${allow.value}`);
      rules[allow.option] = [...(rules[allow.option] ?? []), allow.value];
    }
    code = done.code;
  }
  assert.ok(attempt === 2 && existsSync(join(other, "cache")));
} finally {
  await client.close();
  rmSync(base, { recursive: true });
}
