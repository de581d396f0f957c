/** A process that answers a line of its input with a line of JSON; several take turns in a benchmark. */
export class Contestant<Answer> {
  /** What it is called in tables. */
  readonly name: string;
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #output: ReadableStreamDefaultReader<string>;
  #read = "";

  /** Starts it. */
  constructor(name: string, command: string, args: string[], env: Record<string, string> = {}) {
    this.name = name;
    const options = { args, env, stdin: "piped", stdout: "piped" } as const;
    this.#process = new Deno.Command(command, options).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#output = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Asks and waits for the answer. */
  async ask(line = ""): Promise<Answer> {
    await this.#input.write(new TextEncoder().encode(`${line}\n`));
    while (!this.#read.includes("\n")) {
      const { value, done } = await this.#output.read();
      if (done) throw new Error(`${this.name} ended early`);
      this.#read += value;
    }
    const [answer, ...rest] = this.#read.split("\n");
    this.#read = rest.join("\n");
    return JSON.parse(answer!);
  }

  /** Lets it end. */
  async end(): Promise<void> {
    await this.#input.close();
    await this.#output.cancel();
    await this.#process.status;
  }
}
