/** How transfers stand: bars that rewrite themselves on a terminal, log lines anywhere else. */

import type { Transfer, TransferListener } from "../data/fetch/fetch_files.ts";

/** Milliseconds between two drawings of the bars, and between two log lines of a file. */
const REDRAW = 100, LOG = 10_000;

interface Row {
  readonly started: number;
  readonly from: number;
  bytes: number;
  logged: number;
}

/** Bytes with a unit: `12.3 MB`. */
export function bytesText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), 4);
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

/** A report of transfers. */
export class TransferReport implements TransferListener {
  readonly #terminal: boolean;
  readonly #print: (text: string) => void;
  readonly #now: () => number;
  readonly #rows = new Map<Transfer, Row>();
  #drawn = 0;
  #drawnAt = -Infinity;

  /**
   * A report.
   *
   * @param terminal Whether lines may be rewritten.
   * @param print Writes text as it is.
   * @param now Milliseconds by a clock.
   */
  constructor(
    terminal: boolean,
    print: (text: string) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#terminal = terminal;
    this.#print = print;
    this.#now = now;
  }

  /** Prints a line of its own. */
  say(text: string): void {
    this.#erase();
    this.#print(`${text}\n`);
    this.#draw(true);
  }

  /** A file is there already. */
  present({ path, file }: Transfer): void {
    this.say(`${path}: is there and right (${bytesText(file.size)}).`);
  }

  /** A file has so many bytes by now. */
  progress(transfer: Transfer, bytes: number): void {
    const now = this.#now();
    const row = this.#rows.get(transfer);
    if (!row) {
      this.#rows.set(transfer, { started: now, from: bytes, bytes, logged: now });
      const { path, file } = transfer;
      const kept = bytes > 0 ? `, ${bytesText(bytes)} of it are there` : "";
      if (!this.#terminal) this.say(`${path}: fetching ${bytesText(file.size)}${kept}.`);
    } else {
      row.bytes = bytes;
      if (!this.#terminal && now - row.logged >= LOG) {
        row.logged = now;
        this.say(`${transfer.path}: ${this.#state(transfer, row)}`);
      }
    }
    this.#draw(false);
  }

  /** A file is complete. */
  done(transfer: Transfer): void {
    const { path, file } = transfer;
    this.#rows.delete(transfer);
    this.say(`${path}: fetched and checked (${bytesText(file.size)}).`);
  }

  /** Takes the bars away. */
  end(): void {
    this.#erase();
    this.#rows.clear();
  }

  #state({ file }: Transfer, { started, from, bytes }: Row): string {
    const seconds = Math.max(this.#now() - started, 1) / 1000;
    const speed = (bytes - from) / seconds;
    const left = speed > 0 ? `, ${Math.ceil((file.size - bytes) / speed)} s left` : "";
    return `${(100 * bytes / Math.max(file.size, 1)).toFixed(0)}% of ${bytesText(file.size)}, ` +
      `${bytesText(speed)}/s${left}`;
  }

  #erase(): void {
    if (this.#drawn > 0) this.#print(`\x1b[${this.#drawn}A\x1b[J`);
    this.#drawn = 0;
  }

  #draw(atOnce: boolean): void {
    const now = this.#now();
    if (!this.#terminal || (!atOnce && now - this.#drawnAt < REDRAW)) return;
    this.#drawnAt = now;
    this.#erase();
    const lines = [...this.#rows].map(([transfer, row]) => {
      const full = Math.floor(20 * row.bytes / Math.max(transfer.file.size, 1));
      const name = transfer.path.split(/[\\/]/).at(-1)!.slice(-28);
      return `${name.padEnd(28)} ${"█".repeat(full).padEnd(20, "░")} ${
        this.#state(transfer, row)
      }\n`;
    });
    this.#print(lines.join(""));
    this.#drawn = lines.length;
  }
}
