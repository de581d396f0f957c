/** Pictures in terminals that can show them. */

/** How a terminal shows pictures. */
export type PictureProtocol = "kitty" | "iterm" | "sixel" | "none";

/** How the terminal that these variables describe shows pictures. */
export function pictureProtocol(variable: (name: string) => string | undefined): PictureProtocol {
  const term = variable("TERM") ?? "";
  const program = variable("TERM_PROGRAM") ?? "";
  if (/^(tmux|screen)/.test(term)) return "none"; // they swallow what they do not know
  if (/kitty|ghostty/.test(term + program) || variable("KITTY_WINDOW_ID")) return "kitty";
  if (/^(iTerm\.app|WezTerm|mintty|vscode)$/.test(program)) return "iterm";
  return /sixel|^(foot|mlterm|yaft)/.test(term) ? "sixel" : "none";
}

/** RGB pixels of a picture. */
export interface Pixels {
  /** Columns. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
  /** Bytes [height, width, 3]. */
  readonly data: Uint8Array;
}

/** The rows of bytes of a picture's planes [3, size, size]. */
export function fromPlanes(planes: Uint8Array, size: number): Pixels {
  const data = new Uint8Array(planes.length);
  for (let i = 0; i < size * size; i++) {
    for (let colour = 0; colour < 3; colour++) {
      data[3 * i + colour] = planes[colour * size * size + i]!;
    }
  }
  return { width: size, height: size, data };
}

/** What to write to a terminal so that it shows a picture. */
export function pictureSequence(
  protocol: PictureProtocol,
  pixels: Pixels,
  file: Uint8Array<ArrayBuffer>,
): string {
  if (protocol === "kitty") return kitty(pixels);
  if (protocol === "iterm") {
    return `\x1b]1337;File=inline=1;height=10;preserveAspectRatio=1:${file.toBase64()}\x07\n`;
  }
  return protocol === "sixel" ? sixel(pixels) : "";
}

/** Kitty's protocol: raw RGB in base64, in pieces of 4096 characters. */
function kitty({ width, height, data }: Pixels): string {
  const text = new Uint8Array(data).toBase64();
  const pieces = text.match(/.{1,4096}/g) ?? [];
  return pieces.map((piece, i) => {
    const head = i === 0 ? `a=T,f=24,s=${width},v=${height},r=10,q=2,` : "";
    return `\x1b_G${head}m=${i < pieces.length - 1 ? 1 : 0};${piece}\x1b\\`;
  }).join("") + "\n";
}

const LEVELS = 6;

/** Sixels: bands of six rows, for each colour of a cube of 6 × 6 × 6 which of the six dots it has. */
function sixel({ width, height, data }: Pixels): string {
  const level = (at: number) => Math.round(data[at]! * (LEVELS - 1) / 255);
  const colourAt = (x: number, y: number): number => {
    const at = 3 * (y * width + x);
    return (level(at) * LEVELS + level(at + 1)) * LEVELS + level(at + 2);
  };
  const bands: string[] = [];
  const used = new Set<number>();
  for (let top = 0; top < height; top += 6) {
    const dots = new Map<number, Uint8Array>();
    for (let y = top; y < Math.min(top + 6, height); y++) {
      for (let x = 0; x < width; x++) {
        const colour = colourAt(x, y);
        const row = dots.get(colour) ?? new Uint8Array(width);
        row[x]! |= 1 << (y - top);
        dots.set(colour, row);
      }
    }
    for (const colour of dots.keys()) used.add(colour);
    bands.push(Array.from(dots, ([colour, row]) => `#${colour}${runs(row)}`).join("$"));
  }
  const part = (colour: number, step: number) =>
    Math.round(Math.floor(colour / step) % LEVELS * 100 / (LEVELS - 1));
  const palette = [...used].map((colour) =>
    `#${colour};2;${part(colour, LEVELS ** 2)};${part(colour, LEVELS)};${part(colour, 1)}`
  );
  return `\x1bPq"1;1;${width};${height}${palette.join("")}${bands.join("-")}\x1b\\\n`;
}

/** A row of dots, with equal ones in a row counted. */
function runs(row: Uint8Array): string {
  const text = String.fromCharCode(...row.map((dots) => dots + 63));
  return text.replace(/(.)\1{3,}/g, (run, dot) => `!${run.length}${dot}`);
}
