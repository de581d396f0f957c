import { groupedProduct } from "./experts/product.ts";
import type { Routing } from "./experts/routing.ts";
import { sortRows, sumChoices } from "./experts/rows.ts";
import { weightedSwiglu, weightedSwigluBackward } from "./experts/swiglu.ts";
import { ShapeError } from "./runtime/errors.ts";
import { operandOf, precisionOf } from "./runtime/precision.ts";
import type { Tensor } from "./runtime/tensor.ts";

export { balanceLoss } from "./experts/aux_loss.ts";
export type { ExpertGroups } from "./experts/groups.ts";
export { routeTokens, type Routing, type RoutingOptions } from "./experts/routing.ts";

/**
 * SwiGLU networks of which each token passes those that it has chosen, their outputs weighted and added:
 * y = residual + Σⱼ wⱼ · downₑⱼ(silu(gateₑⱼ(x)) · upₑⱼ(x)). Nothing is computed for a token by an expert that it has not
 * chosen, but for the padding of each expert's rows to whole tiles.
 *
 * @param x Rows [T, width].
 * @param routing Who has chosen whom, see `routeTokens`; a gradient flows to its weights.
 * @param gateUp The experts' gate and up projections below each other [E · 2F, width].
 * @param down The experts' down projections below each other [E · width, F].
 * @param residual Added to the output [T, width].
 * @returns [T, width]
 */
export function expertFeedForward(
  x: Tensor,
  routing: Routing,
  gateUp: Tensor,
  down: Tensor,
  residual?: Tensor,
): Tensor {
  const { gpu, width } = x;
  const { experts, tokens, weights } = routing;
  const inner = down.width;
  if (
    x.rows !== tokens || gateUp.width !== width || gateUp.rows !== experts * 2 * inner ||
    down.rows !== experts * width
  ) {
    throw new ShapeError(
      `expertFeedForward: rows [${x.shape}] chosen for by ${tokens} tokens, ${experts} experts, ` +
        `gate and up [${gateUp.shape}] and down [${down.shape}] do not fit.`,
    );
  }
  if (residual && residual.size !== x.size) {
    throw new ShapeError(
      `expertFeedForward: a residual [${residual.shape}] does not fit [${x.shape}].`,
    );
  }
  const sorted = routing.tile * routing.tiles;
  const precision = precisionOf(gateUp, down);
  const y = gpu.empty(x.shape);
  using _scope = gpu.scope();
  const hidden = gpu.empty([sorted, 2 * inner]);
  {
    using _rows = gpu.scope();
    groupedProduct("NT", sortRows(x, routing), gateUp, hidden, routing);
    const out = gpu.empty([sorted, width]);
    groupedProduct("NT", weightedSwiglu(hidden, routing), down, out, routing);
    sumChoices(out, routing, y, residual);
  }
  const inputs = [x, weights, gateUp, down, ...residual ? [residual] : []];
  const { tileExperts, firstTiles, slots, rows } = routing;
  const saved = [hidden, weights, tileExperts, firstTiles, slots, rows, operandOf(down)];
  if (x.requiresGrad) saved.push(operandOf(gateUp));
  if (gateUp.requiresGrad) saved.push(x);
  gpu.tape?.record("experts", y, inputs, saved, (dy, tape) => {
    if (residual) tape.accumulate(residual, dy);
    if (!inputs.slice(0, 4).some(({ requiresGrad }) => requiresGrad)) return;
    const sortedDy = sortRows(dy, routing);
    const dInner = gpu.empty([sorted, inner]);
    groupedProduct("NN", sortedDy, down, dInner, routing);
    const dHidden = gpu.empty(hidden.shape);
    const { grad, accumulate } = weights.requiresGrad
      ? tape.target(weights)
      : { grad: gpu.empty(weights.shape), accumulate: false };
    weightedSwigluBackward(hidden, dInner, routing, dHidden, grad, accumulate);
    if (down.requiresGrad) {
      const { grad, accumulate } = tape.target(down);
      groupedProduct("TN", sortedDy, dInner, grad, routing, accumulate, precision);
    }
    if (gateUp.requiresGrad) {
      const { grad, accumulate } = tape.target(gateUp);
      groupedProduct("TN", dHidden, sortRows(x, routing), grad, routing, accumulate, precision);
    }
    if (x.requiresGrad) {
      const { grad, accumulate } = tape.target(x);
      const dRows = gpu.empty([sorted, width]);
      groupedProduct("NN", dHidden, gateUp, dRows, routing);
      sumChoices(dRows, routing, grad, undefined, accumulate);
    }
  });
  return y;
}
