import { GlimpseError } from "../kernels/runtime/errors.ts";
import type { StepMetrics } from "./metrics.ts";

const HISTORY = 20;
const FACTOR = 10;

/** Watches the numbers of a run and says when something is wrong with them. */
export class Guards {
  readonly #maxBadSteps: number;
  readonly #say: (text: string) => void;
  #bad = 0;
  #seen = 0;
  #mean = 0;

  /**
   * Guards of a run.
   *
   * @param maxBadSteps Updates without a finite gradient in a row after which the run must end.
   * @param say Tells the person.
   */
  constructor(maxBadSteps: number, say: (text: string) => void) {
    this.#maxBadSteps = maxBadSteps;
    this.#say = say;
  }

  /**
   * Looks at an update. One that is left out because its scaled gradient exceeds float16 counts neither way.
   *
   * @throws {GlimpseError} when too many in a row were left out.
   */
  check({ step, loss, grad_norm: norm, loss_scale: lossScale = 0 }: StepMetrics): void {
    if (!Number.isFinite(norm)) {
      if (Number.isFinite(loss) && lossScale >= 1) {
        this.#say(
          `update ${step}: a gradient exceeds float16; the update is left out and the loss scale ` +
            `is now ${lossScale}.`,
        );
        return;
      }
      this.#say(
        `update ${step}: the gradient is not finite (loss ${loss}); the update is left out.`,
      );
      if (++this.#bad >= this.#maxBadSteps) {
        throw new GlimpseError(
          `${this.#bad} updates in a row had no finite gradient, the last one with loss ${loss}. ` +
            `Lower the learning rate, or look for broken weights or data.`,
        );
      }
      return;
    }
    this.#bad = 0;
    if (this.#seen >= HISTORY && norm > FACTOR * this.#mean) {
      this.#say(
        `update ${step}: the gradient's norm ${norm.toPrecision(3)} is far from its mean ` +
          `${this.#mean.toPrecision(3)}.`,
      );
    }
    this.#mean += (norm - this.#mean) / Math.min(++this.#seen, 5 * HISTORY);
  }
}
