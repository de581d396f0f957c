const NUMBERS = "zero one two three four five six seven eight nine ten".split(" ");
const ARTICLES = new Set(["a", "an", "the"]);
const PUNCTUATION = [...';/[]"{}()=+\\_-><@`,?!'];

/** Short forms that are often written without one of their apostrophes. VQA's list has no others, and one slip. */
const SHORT_FORMS: ReadonlyMap<string, string> = new Map(
  ("ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've " +
    "hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't " +
    "mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't " +
    "she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd " +
    "someone'd've someone'll someone's something'd something'd've something'll that's there'd " +
    "there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've " +
    "we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've " +
    "who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll " +
    "y'all'd've you'd you'd've you'll you're you've")
    .split(" ").flatMap((word) =>
      [...word.matchAll(/'/g)].map((
        { index },
      ) => [word.slice(0, index) + word.slice(index + 1), word])
    ),
).set("somebody'd", "somebodyd");

/**
 * An answer as VQA's evaluation compares it: lower case, without punctuation and articles, numbers up to
 * ten as digits, short forms with their apostrophe.
 */
export function vqaAnswer(answer: string): string {
  const text = oneLine(answer);
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
 * VQA's accuracy (Antol et al., 2015): an answer that three of ten people gave is right. It is the mean, over leaving out each
 * person, of min(1, those of the others who agree / 3). As in the reference implementation, answers are normalised only
 * where people differ: if all said `yes`, `Yes.` is wrong. With fewer than four answers there are no three others; then it is
 * whether anyone gave this answer.
 *
 * @returns Between 0 and 1.
 */
export function vqaAccuracy(answer: string, people: readonly string[]): number {
  const few = people.length < 4;
  const differ = new Set(people.map(oneLine)).size > 1;
  const compared = few || differ ? vqaAnswer : oneLine;
  const said = compared(answer);
  const agree = people.map((other) => Number(compared(other) === said));
  const all = agree.reduce((sum, one) => sum + one, 0);
  if (few) return Math.min(1, all);
  return agree.reduce((sum, own) => sum + Math.min(1, (all - own) / 3), 0) / people.length;
}

function oneLine(answer: string): string {
  return answer.replace(/[\n\t]/g, " ").trim();
}
