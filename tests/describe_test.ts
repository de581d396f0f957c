import { assertRejects } from "@std/assert";
import { UsageError } from "../kernels/runtime/errors.ts";
import { describe } from "../model/describe.ts";
import { gpuTest } from "./support/gpu.ts";
import { tinyChatModel } from "./support/tiny_chat_model.ts";

gpuTest("what cannot be a number of tokens is refused by its name", async (gpu) => {
  using model = tinyChatModel(gpu);
  for (const maxNewTokens of [-1, NaN]) {
    const answer = Array.fromAsync(describe(model, [], "Hi", { maxNewTokens }));
    await assertRejects(() => answer, UsageError, `maxNewTokens is ${maxNewTokens}`);
  }
});
