import { join } from "@std/path";
import config from "../deno.json" with { type: "json" };
import { UsageError } from "../kernels/runtime/errors.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import type { Vlm } from "../model/vlm.ts";
import { encoderKey, FeatureCache, featureFloats } from "./feature_cache.ts";
import { availableMemory, type RunData } from "./open_run.ts";
import type { ProgressReport } from "./progress.ts";
import type { RunSettings } from "./settings.ts";

/**
 * Opens the cache of a run's features of pictures, if it is to have one: with `auto` where pictures are seen again.
 *
 * Whether they are rounded to half precision depends on settings and data alone, so that a run that goes on finds the
 * bits that it would have had: float32 where all fit the budget, half precision where they do not or in a folder.
 */
export async function openFeatureCache(
  { featureCache: kind, featureCacheBudget: budget, epochs }: RunSettings,
  vlm: Vlm,
  precision: Precision,
  data: Pick<RunData, "train" | "validation">,
  report: ProgressReport,
): Promise<FeatureCache | undefined> {
  if (kind === "off" || (kind === "auto" && epochs === 1) || !vlm.config.vision) return undefined;
  if (vlm.visionParameters.trainedCount > 0) {
    if (kind === "auto") return undefined;
    throw new UsageError(
      `--feature_cache ${kind} keeps what a frozen vision tower makes of pictures, but --freeze_vision 0 changes it; leave one out.`,
    );
  }
  const rows = data.train.length + (data.validation?.length ?? 0);
  const whole = rows * 4 * featureFloats(vlm);
  const half = kind !== "auto" || whole > budget;
  const needed = half ? whole / 2 : whole;
  const memory = Math.min(budget, (availableMemory() ?? Infinity) / 4);
  const folder = kind === "auto"
    ? undefined
    : join(kind, await encoderKey(vlm, `${config.version} ${precision}`));
  const kept = folder ? `on disk in ${folder}, ` : "";
  const share = needed > memory && !folder
    ? `; ${formatBytes(needed)} would hold all, --feature_cache DIR keeps the rest on disk`
    : "";
  report.say(
    `Features of pictures are kept for later epochs ${kept}in up to ${
      formatBytes(Math.min(memory, needed))
    } of memory, in ${half ? "half" : "full"} precision${share}.`,
  );
  return new FeatureCache(vlm, { half, memory, folder, warn: (text) => report.say(text) });
}
