/** The rows of a metrics file, for the report. */

import type { ReportRow } from "./report.ts";

/**
 * Reads a metrics file: the rows of updates, and those of validations, which have a `val_loss` and
 * may have a `blind_loss`. Lines that are cut off or not JSON are passed over.
 */
export async function readMetricsRows(
  path: string,
): Promise<{ updates: ReportRow[]; validation: ReportRow[] }> {
  const updates: ReportRow[] = [], validation: ReportRow[] = [];
  for (const line of (await Deno.readTextFile(path)).split("\n")) {
    const row = rowOf(line);
    if (row === undefined) continue;
    if (!("val_loss" in row)) updates.push(row);
    else validation.push({ step: row.step, loss: row.val_loss, blind_loss: row.blind_loss });
  }
  return { updates, validation };
}

/** The numbers of a line. */
function rowOf(line: string): ReportRow | undefined {
  try {
    const row = Object(JSON.parse(line)) as Record<string, unknown>;
    if (typeof row.step !== "number") return undefined;
    const numbers = Object.entries(row).filter(([, value]) =>
      typeof value === "number" || value === null
    );
    return Object.fromEntries(numbers) as ReportRow;
  } catch {
    return undefined;
  }
}
