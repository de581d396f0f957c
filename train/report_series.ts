/** The numbers of a chart: smoothing, thinning out, ticks. */

/** A point of a curve. */
export type Point = readonly [x: number, y: number];

/** A stretch of a curve: where it is, and its least and greatest value. */
export interface Stretch {
  /** Middle of the stretch. */
  readonly x: number;
  /** Least value. */
  readonly min: number;
  /** Greatest value. */
  readonly max: number;
}

/**
 * The course of a noisy curve: at each point the mean of all, of which a point `n` places away
 * counts `keep ** n`. It does not lag behind, as a mean over the past alone would.
 *
 * @param span Points after which a weight has fallen to about an eighth; a sixtieth of all, if it is
 * not given, so that a short curve stays as it is.
 */
export function smooth(
  points: readonly Point[],
  span: number = Math.max(1, points.length / 60),
): Point[] {
  const keep = 1 - 2 / (span + 1);
  const before = decayingSums(points, keep);
  const after = decayingSums(points.toReversed(), keep).reverse();
  return points.map(([x, y], i) => {
    const [past, future] = [before[i]!, after[i]!];
    return [x, (past.sum + future.sum - y) / (past.weight + future.weight - 1)];
  });
}

function decayingSums(points: readonly Point[], keep: number): { sum: number; weight: number }[] {
  let sum = 0, weight = 0;
  return points.map(([, y]) => {
    [sum, weight] = [keep * sum + y, keep * weight + 1];
    return { sum, weight };
  });
}

/** At most `most` stretches of about as many points each. */
export function stretches(points: readonly Point[], most: number): Stretch[] {
  const count = Math.min(most, points.length);
  return Array.from({ length: count }, (_, i) => {
    const part = points.slice(
      Math.floor(i * points.length / count),
      Math.floor((i + 1) * points.length / count),
    );
    const values = part.map(([, y]) => y);
    return {
      x: (part[0]![0] + part.at(-1)![0]) / 2,
      min: Math.min(...values),
      max: Math.max(...values),
    };
  });
}

/** At most `most` of a list's items, evenly spread, the first and the last among them. */
export function spread<T>(items: readonly T[], most: number): T[] {
  if (items.length <= most) return [...items];
  return Array.from(
    { length: most },
    (_, i) => items[Math.round(i * (items.length - 1) / (most - 1))]!,
  );
}

/** An axis: values to places between 0 and 1, and where its ticks are. */
export interface Scale {
  /** Place of a value. */
  place(value: number): number;
  /** The values that are marked. */
  readonly ticks: readonly number[];
}

/** An even axis over a range, with about `count` round ticks; `whole` keeps them to whole numbers. */
export function linearScale(
  min: number,
  max: number,
  count: number,
  whole: boolean = false,
): Scale {
  if (!(max > min)) {
    const half = whole ? 1 : Math.abs(min) / 2 || 1;
    [min, max] = [min - half, max + half];
  }
  const rough = (max - min) / count;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const round = [1, 2, 5, 10].find((factor) => factor * ten >= rough * 0.999)! * ten;
  const step = whole ? Math.max(1, Math.round(round)) : round;
  const first = Math.ceil(min / step - 1e-9), last = Math.floor(max / step + 1e-9);
  const ticks = Array.from(
    { length: Math.max(0, last - first + 1) },
    (_, i) => Number(((first + i) * step).toPrecision(12)),
  );
  return { place: (value) => (value - min) / (max - min), ticks };
}

/** An axis on which equal factors are equally far apart, over a range of positive numbers. */
export function logScale(min: number, max: number): Scale {
  const [from, to] = [Math.log10(min), Math.log10(max)];
  const digits = to - from > 3 ? [1] : to - from > 1.2 ? [1, 3] : [1, 2, 5];
  const ticks: number[] = [];
  for (let power = Math.floor(from); power <= to; power++) {
    for (const digit of digits) {
      const tick = Number(`${digit}e${power}`);
      if (tick >= min * 0.999 && tick <= max * 1.001) ticks.push(tick);
    }
  }
  return { place: (value) => (Math.log10(value) - from) / (to - from), ticks };
}

/** A number in few characters: `1,234`, `0.0123`, `4e-4`. */
export function shortNumber(value: number, digits: number = 4): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e9) return `${trimmed(value / 1e9, digits)}G`;
  if (size >= 1e6) return `${trimmed(value / 1e6, digits)}M`;
  if (size >= 1e5) return `${trimmed(value / 1e3, digits)}k`;
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  if (size === 0 || size >= 1e-3) return trimmed(value, digits);
  return value.toExponential(Math.max(0, digits - 1)).replace(/\.?0*e/, "e");
}

function trimmed(value: number, digits: number): string {
  return String(Number(value.toPrecision(digits)));
}
