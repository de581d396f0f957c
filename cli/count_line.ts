/** How far something is that is counted. */

/** Milliseconds between two lines where none can be rewritten. */
const INTERVAL = 5000;

/** A line that counts: rewritten on a terminal, one every few seconds anywhere else. */
export class CountLine {
  readonly #name: string;
  readonly #terminal = Deno.stdout.isTerminal();
  #shown = performance.now();
  #open = false;

  /** A line about what `name` says; nothing is shown yet. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Shows how many are done. */
  show(done: number, all: number): void {
    const text = `${this.#name} ${done}/${all}`;
    if (this.#terminal) {
      Deno.stdout.writeSync(new TextEncoder().encode(`\r\x1b[2K${text}`));
      this.#open = true;
    } else if (done === all || performance.now() - this.#shown > INTERVAL) {
      this.#shown = performance.now();
      console.log(text);
    }
  }

  /** Ends the line that is being rewritten. */
  end(): void {
    if (this.#open) console.log();
    this.#open = false;
  }
}
