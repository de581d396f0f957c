const NUMBERS = "zero one two three four five six seven eight nine ten".split(" ");
const ARTICLES = new Set(["a", "an", "the"]);
const PUNCTUATION = [...';/[]"{}()=+\\_-><@`,?!'];

/** Short forms that are often written without their apostrophe. */
const SHORT_FORMS: ReadonlyMap<string, string> = new Map(
  ("ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't " +
    "oughtn't shan't shouldn't wasn't weren't won't wouldn't could've might've must've should've would've " +
    "i'm i've it'll let's that's there's they're they've they'll we've what's where's who's you're you've you'll " +
    "he's how's o'clock ma'am y'all")
    .split(" ").map((word) => [word.replaceAll("'", ""), word]),
);

/**
 * An answer as VQA's evaluation compares it: lower case, without punctuation and articles, numbers up to
 * ten as digits, short forms with their apostrophe.
 */
export function vqaAnswer(answer: string): string {
  const text = answer.replace(/[\n\t]/g, " ").trim();
  const decimalComma = /\d,\d/.test(text);
  let plain = text;
  for (const mark of PUNCTUATION) {
    const atWord = text.includes(`${mark} `) || text.includes(` ${mark}`);
    plain = plain.replaceAll(mark, atWord || decimalComma ? "" : " ");
  }
  plain = plain.replace(/\.(?!\d)/g, "").replace(/[。，、；：？！]/g, "");
  return plain.toLowerCase().split(/\s+/).flatMap((word) => {
    const number = NUMBERS.indexOf(word);
    const known = word === "none" ? "0" : number >= 0 ? String(number) : word;
    return known === "" || ARTICLES.has(known) ? [] : [SHORT_FORMS.get(known) ?? known];
  }).join(" ");
}

/**
 * VQA's accuracy (Antol et al., 2015): an answer that three of ten people gave is right. It is the mean,
 * over leaving out each person, of min(1, those of the others who agree / 3). With fewer than four
 * answers there are no three others; then it is whether anyone gave this answer.
 *
 * @returns Between 0 and 1.
 */
export function vqaAccuracy(answer: string, people: readonly string[]): number {
  const said = vqaAnswer(answer);
  const agree = people.map((other) => Number(vqaAnswer(other) === said));
  const all = agree.reduce((sum, one) => sum + one, 0);
  if (people.length < 4) return Math.min(1, all);
  return agree.reduce((sum, own) => sum + Math.min(1, (all - own) / 3), 0) / people.length;
}
