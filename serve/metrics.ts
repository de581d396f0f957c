/** Names and values of labels. */
export type Labels = Readonly<Record<string, string | number>>;

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  lines(): Iterable<string>;
}

function labelled(name: string, labels: Labels): string {
  const pairs = Object.entries(labels).map(([key, value]) =>
    `${key}="${String(value).replace(/["\\\n]/g, (c) => c === "\n" ? "\\n" : `\\${c}`)}"`
  );
  return pairs.length > 0 ? `${name}{${pairs.join()}}` : name;
}

/** A number that only grows, for each set of labels. */
export class Counter {
  /** The values by their labelled names. */
  readonly values: Map<string, number> = new Map();
  readonly #name: string;

  /** A counter under a name. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Adds to it. */
  add(by = 1, labels: Labels = {}): void {
    const key = labelled(this.#name, labels);
    this.values.set(key, (this.values.get(key) ?? 0) + by);
  }
}

/** How often values were at most as large as each of some bounds. */
export class Histogram {
  readonly #name: string;
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;
  #count = 0;

  /** A histogram with these upper bounds. */
  constructor(name: string, bounds: readonly number[]) {
    this.#name = name;
    this.#bounds = bounds;
    this.#counts = bounds.map(() => 0);
  }

  /** Adds a value. */
  observe(value: number): void {
    this.#bounds.forEach((bound, i) => this.#counts[i]! += value <= bound ? 1 : 0);
    this.#sum += value;
    this.#count++;
  }

  /** The lines of Prometheus' format. */
  *lines(): Generator<string> {
    for (const [i, bound] of this.#bounds.entries()) {
      yield `${labelled(`${this.#name}_bucket`, { le: bound })} ${this.#counts[i]}`;
    }
    yield `${labelled(`${this.#name}_bucket`, { le: "+Inf" })} ${this.#count}`;
    yield `${this.#name}_sum ${this.#sum}`;
    yield `${this.#name}_count ${this.#count}`;
  }
}

/** Counts what a server does, as Prometheus reads it. */
export class Metrics {
  readonly #metrics: Metric[] = [];

  /** Adds a counter. */
  counter(name: string, help: string): Counter {
    const counter = new Counter(name);
    const lines = () => Array.from(counter.values, ([key, value]) => `${key} ${value}`);
    this.#metrics.push({ name, help, type: "counter", lines });
    return counter;
  }

  /** Adds a number that is asked for when it is wanted, one for each set of labels. */
  read(
    type: "counter" | "gauge",
    name: string,
    help: string,
    read: () => Iterable<readonly [Labels, number]>,
  ): void {
    const lines = () =>
      Array.from(read(), ([labels, value]) => `${labelled(name, labels)} ${value}`);
    this.#metrics.push({ name, help, type, lines });
  }

  /** Adds a histogram. */
  histogram(name: string, help: string, bounds: readonly number[]): Histogram {
    const histogram = new Histogram(name, bounds);
    this.#metrics.push({ name, help, type: "histogram", lines: () => histogram.lines() });
    return histogram;
  }

  /** All of it in Prometheus' text format. */
  text(): string {
    return this.#metrics.map(({ name, help, type, lines }) =>
      [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines(), ""].join("\n")
    ).join("");
  }
}
