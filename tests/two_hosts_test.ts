/** Ranks on two hosts: network namespaces with a name each, joined by a virtual cable. */
import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { alone, assertIncludes, assertSameRun, command, common, end, runs } from "./support/mpi.ts";
import { folderTest } from "./support/original_folder.ts";

const HOSTS = [1, 2].map((i) => ({ name: `glimpse${Deno.pid}-${i}`, address: `10.77.0.${i}` }));

const probe = HOSTS[0]!.name;
const ignore = !await runs("mpirun", "--version") || !await runs("ip", "netns", "add", probe);
if (!ignore) await runs("ip", "netns", "delete", probe);

async function ip(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("ip", { args }).output();
  assertEquals(success, true, `ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

async function joinHosts(): Promise<void> {
  for (const { name } of HOSTS) await ip("netns", "add", name);
  const [a, b] = [HOSTS[0]!.name, HOSTS[1]!.name];
  await ip("link", "add", "cable", "netns", a, "type", "veth", "peer", "name", "cable", "netns", b);
  for (const { name, address } of HOSTS) {
    await ip("-n", name, "addr", "add", `${address}/24`, "dev", "cable");
    await ip("-n", name, "link", "set", "cable", "up");
    await ip("-n", name, "link", "set", "lo", "up");
  }
}

/** Bytes that a host has sent over the cable. */
async function sent(name: string): Promise<number> {
  const path = "/sys/class/net/cable/statistics/tx_bytes";
  const args = ["netns", "exec", name, "cat", path];
  const { stdout } = await new Deno.Command("ip", { args }).output();
  return Number(new TextDecoder().decode(stdout));
}

folderTest("ranks on two hosts are one run", async (dir) => {
  try {
    await joinHosts();
    const hostFile = join(dir, "hosts");
    await Deno.writeTextFile(
      hostFile,
      HOSTS.map(({ address }) => `${address} slots=1\n`).join(""),
    );
    // what ssh is elsewhere: HOST COMMAND …
    const agent = join(dir, "agent.sh");
    const cases = HOSTS.map(({ name, address }) => `${address}) host=${name};;`).join(" ");
    await Deno.writeTextFile(
      agent,
      `#!/bin/sh\ncase $1 in ${cases} esac\nshift\n` +
        `exec ip netns exec $host unshare --uts sh -c "hostname $host; $*"\n`,
      { mode: 0o755 },
    );
    const flags = ["sft", ...common(dir, 2)];
    await alone([...flags, "--batch_size", "4", "--save_weight", "one"]);
    const job = command(agent, [
      HOSTS[0]!.address,
      ...["mpirun", "--hostfile", hostFile, "--mca", "plm_rsh_agent", agent, "-n", "2"],
      ...[Deno.execPath(), "task", ...flags, "--batch_size", "2", "--save_weight", "two"],
    ]);
    const { code, text } = await end(job);
    assertEquals(code, 0, text);
    assertIncludes(text, `rank 1 of 2: ${HOSTS[1]!.name}, process 0 there`);
    await assertSameRun(dir, "two_64", "one_64");
    // weights, and four updates' gradients of 0.5 M numbers
    assertEquals(await sent(HOSTS[0]!.name) > 8e6, true);
  } finally {
    for (const { name } of HOSTS) await runs("ip", "netns", "delete", name);
  }
}, ignore);
