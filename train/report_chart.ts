/** Charts as SVG text that shows the values under the pointer without any script. */

import {
  linearScale,
  logScale,
  type Point,
  type Scale,
  shortNumber,
  smooth,
  spread,
  stretches,
} from "./report_series.ts";

/** A curve of a chart. */
export interface Curve {
  /** Its name in the legend. */
  readonly name: string;
  /** Its points, in the order of x; what is not finite is left out. */
  readonly points: readonly Point[];
  /** Its colour, one of the page's. */
  readonly color: "first" | "second" | "third";
  /** Whether it is noisy: drawn pale, with its smoothed course over it. */
  readonly noisy?: boolean;
  /** Whether each point is marked. */
  readonly dots?: boolean;
}

/** A chart. */
export interface Chart {
  /** What is above it. */
  readonly title: string;
  /** A sentence below the title. */
  readonly note?: string;
  /** The curves, over the same axes. */
  readonly curves: readonly Curve[];
  /** Whether equal factors are equally far apart where the values spread widely. */
  readonly log?: boolean;
  /** Whether the axis goes down to zero. */
  readonly fromZero?: boolean;
  /** Whether the space between the first two curves is filled. */
  readonly gap?: boolean;
  /** Values of x at which a dotted line stands. */
  readonly marks?: readonly number[];
  /** Width and height in pixels. */
  readonly size: readonly [width: number, height: number];
}

const MARGIN = { top: 14, right: 14, bottom: 30, left: 56 };
const STRETCHES = 360;
const COLUMNS = 90;
const WIDE = 30; // from this ratio of the greatest to the least value on, an axis may be logarithmic

/** Text as it stands in a page. */
export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
    // deno-lint-ignore no-control-regex
    .replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g, "\ufffd");
}

/** A chart with its heading and legend; empty where no curve has a point. */
export function chartHtml(chart: Chart): string {
  const curves = chart.curves.map((curve) => ({
    ...curve,
    points: curve.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y)),
  })).filter(({ points }) => points.length > 0);
  if (curves.length === 0) return "";
  const legend = curves.length < 2
    ? ""
    : `<ul class="legend">${
      curves.map(({ name, color }) => `<li class="${color}">${escaped(name)}</li>`).join("")
    }</ul>`;
  const note = chart.note === undefined ? "" : `<p>${escaped(chart.note)}</p>`;
  return `<figure class="card chart"><figcaption><h3>${escaped(chart.title)}</h3>${legend}${note}` +
    `</figcaption>${new Drawing(chart, curves).svg()}</figure>`;
}

/** Places of a chart's parts. */
class Drawing {
  readonly #chart: Chart;
  readonly #curves: readonly Curve[];
  readonly #smoothed: readonly (readonly Point[])[];
  readonly #x: Scale;
  readonly #y: Scale;

  constructor(chart: Chart, curves: readonly Curve[]) {
    this.#chart = chart;
    this.#curves = curves;
    this.#smoothed = curves.map(({ points, noisy }) => noisy ? smooth(points) : points);
    const xs = curves.flatMap(({ points }) => [points[0]![0], points.at(-1)![0]]);
    this.#x = linearScale(Math.min(...xs), Math.max(...xs), chart.size[0] / 110, true);
    let min = Infinity, max = -Infinity;
    for (const { points } of curves) {
      for (const [, y] of points) [min, max] = [Math.min(min, y), Math.max(max, y)];
    }
    if (chart.log && min > 0 && max / min > WIDE) this.#y = logScale(min, max);
    else {
      const room = (max - min) * 0.04;
      const low = chart.fromZero && min >= 0 ? 0 : min - room;
      this.#y = linearScale(low, max + room, chart.size[1] / 50);
    }
  }

  svg(): string {
    const { title, size: [width, height] } = this.#chart;
    const [first, last] = [this.#smoothed[0]![0]!, this.#smoothed[0]!.at(-1)!];
    const label = `${title}: from ${shortNumber(first[1])} at update ${first[0]} to ` +
      `${shortNumber(last[1])} at update ${last[0]}`;
    return `<div class="plot${
      width > 700 ? " wide" : ""
    }"><svg viewBox="0 0 ${width} ${height}" width="${width}" ` +
      `height="${height}" role="img" aria-label="${escaped(label)}">${this.#axes()}${this.#gap()}${
        this.#curves.map((_, i) => this.#curve(i)).join("")
      }${this.#columns()}</svg></div>`;
  }

  #px(x: number): number {
    const { left, right } = MARGIN;
    return rounded(left + this.#x.place(x) * (this.#chart.size[0] - left - right));
  }

  #py(y: number): number {
    const { top, bottom } = MARGIN;
    return rounded(top + (1 - this.#y.place(y)) * (this.#chart.size[1] - top - bottom));
  }

  #axes(): string {
    const [width, height] = this.#chart.size;
    const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
    const rows = this.#y.ticks.map((tick) =>
      `<path class="grid" d="M${MARGIN.left} ${this.#py(tick)}H${right}"/>` +
      `<text class="y" x="${MARGIN.left - 8}" y="${this.#py(tick) + 4}">${shortNumber(tick)}</text>`
    );
    const columns = this.#x.ticks.map((tick) =>
      `<text class="x" x="${this.#px(tick)}" y="${bottom + 19}">${shortNumber(tick)}</text>`
    );
    const marks = (this.#chart.marks ?? []).map((x) =>
      `<path class="mark" d="M${this.#px(x)} ${MARGIN.top}V${bottom}"/>`
    );
    return rows.join("") + columns.join("") + marks.join("");
  }

  #curve(index: number): string {
    const { color, noisy, dots, points } = this.#curves[index]!;
    const course = this.#line(spread(this.#smoothed[index]!, STRETCHES));
    const pale = noisy ? `<path class="pale ${color}" d="${this.#noise(points)}"/>` : "";
    const marked = dots
      ? points.map(([x, y]) =>
        `<circle class="${color}" cx="${this.#px(x)}" cy="${this.#py(y)}" r="2.5"/>`
      )
      : [];
    return `${pale}<path class="line ${color}" d="${course}"/>${marked.join("")}`;
  }

  #line(points: readonly Point[]): string {
    const [first, ...rest] = points.map(([x, y]) => `${this.#px(x)} ${this.#py(y)}`);
    return `M${first}L${rest.length > 0 ? rest.join(" ") : first}`;
  }

  /** Few points as a line; of many, the space between the least and the greatest of each stretch. */
  #noise(points: readonly Point[]): string {
    if (points.length <= STRETCHES) return this.#line(points);
    const parts = stretches(points, STRETCHES);
    const upper = parts.map(({ x, max }): Point => [x, max]);
    const lower = parts.map(({ x, min }): Point => [x, min]).reverse();
    return `${this.#line([...upper, ...lower])}Z`;
  }

  #gap(): string {
    const [one, other] = this.#curves;
    if (!this.#chart.gap || !one || !other) return "";
    return `<path class="gap" d="${this.#line([...one.points, ...other.points.toReversed()])}Z"/>`;
  }

  /** Strips over the chart, each of which shows its values while the pointer is over it. */
  #columns(): string {
    const [width, height] = this.#chart.size;
    const densest = this.#curves.reduce((a, b) => b.points.length > a.points.length ? b : a);
    const xs = spread(densest.points, COLUMNS).map(([x]) => x);
    const places = xs.map((x) => this.#px(x));
    return xs.map((x, i) => {
      const from = i === 0 ? MARGIN.left - 6 : (places[i - 1]! + places[i]!) / 2;
      const to = i === xs.length - 1 ? width - MARGIN.right + 6 : (places[i]! + places[i + 1]!) / 2;
      return `<g class="column"><rect x="${rounded(from)}" y="0" width="${rounded(to - from)}" ` +
        `height="${height}"/><g class="tip">${this.#tip(x)}</g></g>`;
    }).join("");
  }

  #tip(x: number): string {
    const [width, height] = this.#chart.size;
    const rows: { text: string; color: string }[] = [];
    const dots: string[] = [];
    this.#curves.forEach(({ name, color, points, noisy }, i) => {
      const at = nearest(points, x);
      const [, y] = this.#smoothed[i]![at]!;
      const raw = noisy ? ` (${shortNumber(points[at]![1])})` : "";
      rows.push({ text: `${name} ${shortNumber(y)}${raw}`, color });
      dots.push(
        `<circle class="${color}" cx="${this.#px(points[at]![0])}" cy="${this.#py(y)}" r="4"/>`,
      );
    });
    const longest = Math.max(`update ${x}`.length, ...rows.map(({ text }) => text.length + 2));
    const boxWidth = 22 + 6.3 * longest, boxHeight = 26 + 17 * rows.length;
    const place = this.#px(x);
    const left = rounded(place > width / 2 ? place - boxWidth - 10 : place + 10);
    const lines = rows.map(({ text, color }, i) =>
      `<circle class="${color}" cx="${left + 14}" cy="${MARGIN.top + 35 + 17 * i}" r="3.5"/>` +
      `<text x="${left + 24}" y="${MARGIN.top + 39 + 17 * i}">${escaped(text)}</text>`
    );
    return `<path class="cross" d="M${place} ${MARGIN.top}V${height - MARGIN.bottom}"/>` +
      `${dots.join("")}<rect class="box" x="${left}" y="${MARGIN.top + 2}" rx="6" ` +
      `width="${rounded(boxWidth)}" height="${boxHeight}"/><text class="head" x="${left + 10}" ` +
      `y="${MARGIN.top + 19}">update ${x}</text>${lines.join("")}`;
  }
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}

function nearest(points: readonly Point[], x: number): number {
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle]![0] < x) low = middle + 1;
    else high = middle;
  }
  const before = low > 0 && x - points[low - 1]![0] < points[low]![0] - x;
  return before ? low - 1 : low;
}
