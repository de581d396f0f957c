/** A headless Chromium, driven through its DevTools protocol. */

import { join } from "@std/path";

const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--force-color-profile=srgb",
  "--remote-debugging-port=0",
];

/** Where Chromium is, if it is installed. */
export function chromiumPath(): string | undefined {
  return ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
    (path) => {
      try {
        return Deno.statSync(path).isFile;
      } catch {
        return false;
      }
    },
  );
}

interface Message {
  id?: number;
  method?: string;
  sessionId?: string;
  params?: Record<string, unknown>;
  result?: Record<string, unknown>;
  error?: { message: string };
}

/** How a page is shown. */
export interface View {
  /** Width in pixels. */
  width: number;
  /** Height in pixels. */
  height: number;
  /** Whether the dark scheme is preferred. */
  dark?: boolean;
  /** Whether it is a phone. */
  mobile?: boolean;
}

/** A running browser. */
export class Chromium implements AsyncDisposable {
  readonly #socket: WebSocket;
  readonly #process: Deno.ChildProcess;
  readonly #folder: string;
  readonly #pending = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  readonly #pages = new Map<string, Page>();
  #id = 0;

  private constructor(socket: WebSocket, process: Deno.ChildProcess, folder: string) {
    this.#socket = socket;
    this.#process = process;
    this.#folder = folder;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
  }

  /** Starts it with an empty profile, and perhaps more flags. */
  static async start(path: string, ...flags: string[]): Promise<Chromium> {
    const folder = await Deno.makeTempDir();
    const process = new Deno.Command(path, {
      args: [...FLAGS, ...flags, `--user-data-dir=${folder}`],
      env: { XDG_RUNTIME_DIR: folder },
      stdout: "null",
      stderr: "null",
    }).spawn();
    const [port, address] = await eventually(async () => {
      const lines = (await Deno.readTextFile(join(folder, "DevToolsActivePort"))).split("\n");
      return lines.length === 2 ? lines : undefined;
    });
    const socket = new WebSocket(`ws://127.0.0.1:${port}${address}`);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    return new Chromium(socket, process, folder);
  }

  /** Opens a page. */
  async open(url: string, view: View): Promise<Page> {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page((method, params) => this.send(method, params, sessionId as string));
    this.#pages.set(sessionId as string, page);
    await page.show(view);
    await page.go(url);
    return page;
  }

  /** Sends a command and resolves to its result. */
  send(
    method: string,
    params: Record<string, unknown> = {},
    sessionId?: string,
  ): Promise<Record<string, unknown>> {
    const id = ++this.#id;
    const pending = Promise.withResolvers<Record<string, unknown>>();
    this.#pending.set(id, pending);
    this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    return pending.promise;
  }

  #receive({ id, method, sessionId, params = {}, result = {}, error }: Message): void {
    if (id === undefined) return this.#pages.get(sessionId ?? "")?.heard(method ?? "", params);
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (error) pending?.reject(new Error(error.message));
    else pending?.resolve(result);
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.send("Browser.close").catch(() => {});
    await this.#process.status;
    this.#socket.close();
    await Deno.remove(this.#folder, { recursive: true }).catch(() => {});
  }
}

/** A page in a browser. */
export class Page {
  /** Addresses that it asked for. */
  readonly requests: string[] = [];
  /** Errors and warnings of its console, and exceptions. */
  readonly complaints: string[] = [];
  readonly #send: (
    method: string,
    params?: Record<string, unknown>,
  ) => Promise<Record<string, unknown>>;

  /** For `Chromium`. */
  constructor(
    send: (method: string, params?: Record<string, unknown>) => Promise<Record<string, unknown>>,
  ) {
    this.#send = send;
  }

  /** For `Chromium`. */
  heard(method: string, params: Record<string, unknown>): void {
    if (method === "Network.requestWillBeSent") {
      this.requests.push((params.request as { url: string }).url);
    } else if (method === "Runtime.exceptionThrown" || method === "Log.entryAdded") {
      this.complaints.push(JSON.stringify(params));
    } else if (method === "Runtime.consoleAPICalled" && params.type !== "log") {
      this.complaints.push(JSON.stringify(params));
    }
  }

  /** Loads an address. */
  async go(url: string): Promise<void> {
    for (const domain of ["Page", "Network", "Runtime", "Log"]) {
      await this.#send(`${domain}.enable`);
    }
    await this.#send("Page.navigate", { url });
    await this.until(`document.readyState === "complete" && location.href !== "about:blank"`);
  }

  /** Changes how it is shown. */
  async show({ width, height, dark = false, mobile = false }: View): Promise<void> {
    await this.#send("Emulation.setDeviceMetricsOverride", {
      width,
      height,
      deviceScaleFactor: mobile ? 2 : 1,
      mobile,
    });
    await this.#send("Emulation.setEmulatedMedia", {
      features: [
        { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
        { name: "prefers-reduced-motion", value: "reduce" },
      ],
    });
  }

  /** The value of an expression, awaited. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.#send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
      userGesture: true,
    });
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
    return (result as { value: T }).value;
  }

  /** Waits until an expression holds. */
  async until(expression: string): Promise<void> {
    await eventually(async () => await this.evaluate<boolean>(expression) || undefined, expression);
  }

  /** Types text where the focus is. */
  async type(text: string): Promise<void> {
    await this.#send("Input.insertText", { text });
  }

  /** Presses a key. */
  async press(key: string): Promise<void> {
    const text = key === "Enter" ? "\r" : undefined;
    const code = key === "Enter" ? 13 : key === "Escape" ? 27 : 0;
    const event = { key, code: key, windowsVirtualKeyCode: code, ...(text && { text }) };
    await this.#send("Input.dispatchKeyEvent", { type: "keyDown", ...event });
    await this.#send("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  /** Chooses files in an input. */
  async choose(selector: string, files: readonly string[]): Promise<void> {
    const { root } = await this.#send("DOM.getDocument");
    const { nodeId } = await this.#send("DOM.querySelector", {
      nodeId: (root as { nodeId: number }).nodeId,
      selector,
    });
    await this.#send("DOM.setFileInputFiles", { nodeId, files });
  }

  /** A picture of what is seen, as PNG. */
  async screenshot(): Promise<Uint8Array<ArrayBuffer>> {
    const { data } = await this.#send("Page.captureScreenshot", { format: "png" });
    return Uint8Array.fromBase64(data as string);
  }
}

/** Asks again until there is an answer, for some minutes at most. */
async function eventually<T>(ask: () => Promise<T | undefined>, what = "an answer"): Promise<T> {
  for (let tries = 0; tries < 5000; tries++) {
    const answer = await ask().catch(() => undefined);
    if (answer !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`Waited in vain for ${what}.`);
}
