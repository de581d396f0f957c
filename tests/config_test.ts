import { assertEquals, assertThrows } from "@std/assert";
import { FormatError } from "../kernels/runtime/errors.ts";
import { miniMindConfig } from "../model/config.ts";

Deno.test("a configuration of experts must let each token choose", () => {
  const moe = { use_moe: true };
  assertEquals(miniMindConfig(moe).n_routed_experts, 4);
  const refused: [Parameters<typeof miniMindConfig>[0], string][] = [
    [{ ...moe, num_experts_per_tok: 5 }, "5 of 4"],
    [{ ...moe, num_experts_per_tok: 0 }, "num_experts_per_tok"],
    [{ ...moe, n_routed_experts: 2.5 }, "n_routed_experts"],
    [{ ...moe, n_shared_experts: -1 }, "n_shared_experts"],
    [{ ...moe, aux_loss_alpha: -0.1 }, "aux_loss_alpha"],
  ];
  for (const [options, word] of refused) {
    assertThrows(() => miniMindConfig(options), FormatError, word);
  }
  assertEquals(miniMindConfig({ num_experts_per_tok: 5 }).use_moe, false);
});
