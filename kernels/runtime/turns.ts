/** Milliseconds after which the event loop comes to rest. */
const REST = 30;

/** Gives the rest of a program its turn where nothing else waits: timers, events, sockets, signals. */
export class Turns {
  #rested = 0;

  /**
   * Lets what is due run. Timers and events come with every turn, in microseconds; Deno looks after sockets and signals
   * when it rests, which takes it one or two milliseconds, and so is done now and then.
   *
   * @param rested Whether something has just been waited for. Browsers, where all is, let timers of hidden pages wait a second.
   */
  async next(rested = false): Promise<void> {
    if (rested) this.#rested = performance.now();
    if (performance.now() - this.#rested < REST) return await message();
    await new Promise((resolve) => setTimeout(resolve, 0));
    this.#rested = performance.now();
  }
}

/** Sends a message to itself and waits for it. */
async function message(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  await new Promise((resolve) => {
    port1.onmessage = resolve;
    port2.postMessage(0);
  });
  port1.close();
  port2.close();
}
