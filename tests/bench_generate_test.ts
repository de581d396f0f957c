/** What `deno task bench:generate` does without its opponent. */
import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { Contestant } from "../bench/support/contestant.ts";
import { writeModel } from "../bench/support/transformers_folder.ts";
import { miniMindConfig } from "../model/config.ts";

const PROGRAM = fromFileUrl(new URL("../bench/versus/generate.ts", import.meta.url));

for (const use_moe of [false, true]) {
  const what = use_moe ? "a model with experts" : "a dense model";
  Deno.test(`bench:generate reads ${what} from transformers' folder, and counts what a token reads`, async () => {
    const config = miniMindConfig({ hidden_size: 64, num_hidden_layers: 1, use_moe });
    const folder = await Deno.makeTempDir();
    try {
      await writeModel(folder, config);
      const device = Deno.env.get("GLIMPSE_DEVICE") ?? "gpu";
      const args = ["run", "-A", "--no-check", PROGRAM, folder, "--device", device];
      const glimpse = new Contestant<{ ids: number[][]; bytes: number }>(
        "it",
        Deno.execPath(),
        args,
      );
      const ask = (batch: number) =>
        glimpse.ask(JSON.stringify({ batch, context: 20, tokens: 5, pictures: 0, seed: 0 }));
      const [one, two] = [await ask(1), await ask(2)];
      await glimpse.end();
      assertEquals([one.ids.length, one.ids[0]!.length], [1, 5]);
      assertEquals(two.ids[0], one.ids[0]);
      // a second token chooses two of four experts too, and half of these are others
      const expert = 4 * 3 * config.hidden_size * config.intermediate_size;
      assertEquals(two.bytes - one.bytes, use_moe ? expert : 0);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
