import { assert, assertRejects } from "@std/assert";
import { run } from "../cli/serve.ts";
import config from "../deno.json" with { type: "json" };
import { GlimpseError, UsageError } from "../kernels/runtime/errors.ts";

const TASK = /--allow-net=([^ ']+)/.exec(config.tasks.serve.command)![1]!.split(",");

Deno.test({
  name: "the task serves at every name of this machine, and says what to type for other addresses",
  permissions: { net: TASK, read: true, env: true, ffi: true },
  fn: async () => {
    for (const host of ["127.0.0.1", "localhost", "::1"]) {
      await assertRejects(
        () => run(["--host", host, "--root", "nowhere"]),
        GlimpseError,
        "no folder",
      );
    }
    for (const host of ["0.0.0.0", "::", "10.1.2.3", "example.com"]) {
      const error = await assertRejects(() => run(["--host", host]), UsageError);
      assert(error.message.includes(`deno task serve:net --host ${host} …`), error.message);
    }
    const hosts = ["--image_hosts", "*.example.com,a.example"];
    const error = await assertRejects(() => run(hosts), UsageError);
    assert(error.message.includes(`deno task serve:net ${hosts.join(" ")} …`), error.message);
  },
});
