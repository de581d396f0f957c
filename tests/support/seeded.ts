/** Random numbers for tests: the same name gives the same sequence. */
export interface Seeded {
  /** Uniform in [0, 1). */
  float(): number;
  /** Standard normal. */
  normal(): number;
}

/** A generator seeded by a text (mulberry32). */
export function seeded(name: string): Seeded {
  let state = 0x9e3779b9;
  for (const c of name) state = Math.imul(state ^ c.codePointAt(0)!, 0x01000193) >>> 0;
  const float = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const normal = (): number =>
    Math.sqrt(-2 * Math.log(1 - float())) * Math.cos(2 * Math.PI * float());
  return { float, normal };
}
