/** Puts another clock in the place of `performance.now`, until it is disposed of. */
export function useClock(now: () => number): Disposable {
  performance.now = now;
  return { [Symbol.dispose]: () => void Reflect.deleteProperty(performance, "now") };
}
