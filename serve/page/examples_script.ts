/** Pictures that the page draws itself, to begin with. */
export const EXAMPLES_SCRIPT: string = String.raw`
function shapes(c) {
  c.fillStyle = "#f3ead7";
  c.fillRect(0, 0, 400, 300);
  c.fillStyle = "#c8372d";
  c.beginPath(); c.arc(128, 150, 68, 0, 7); c.fill();
  c.fillStyle = "#2b5fb3";
  c.fillRect(226, 92, 116, 116);
}

function evening(c) {
  const sky = c.createLinearGradient(0, 0, 0, 300);
  sky.addColorStop(0, "#3b3a74"); sky.addColorStop(0.45, "#d66a5a"); sky.addColorStop(0.72, "#f7c072");
  c.fillStyle = sky;
  c.fillRect(0, 0, 400, 300);
  c.fillStyle = "#fff1c9";
  c.beginPath(); c.arc(270, 170, 34, 0, 7); c.fill();
  const hills = [["#6b3f5f", 190, 40, 0.012, 1], ["#4a2b4e", 222, 30, 0.017, 2.4], ["#2c1a35", 256, 22, 0.022, 4]];
  for (const [colour, base, height, pace, shift] of hills) {
    c.fillStyle = colour;
    c.beginPath(); c.moveTo(0, 300);
    for (let x = 0; x <= 400; x += 4) c.lineTo(x, base - height * Math.sin(x * pace + shift) - 6 * Math.sin(x * 0.06 + shift));
    c.lineTo(400, 300); c.fill();
  }
}

function cat(c) {
  c.fillStyle = "#dfe9e4";
  c.fillRect(0, 0, 400, 300);
  c.fillStyle = "#b98d5e";
  c.fillRect(0, 232, 400, 68);
  c.fillStyle = "#e39a4c";
  c.beginPath(); c.ellipse(190, 214, 104, 46, 0, 0, 7); c.fill();
  c.beginPath(); c.arc(290, 178, 44, 0, 7); c.fill();
  c.beginPath(); c.moveTo(254, 160); c.lineTo(258, 108); c.lineTo(288, 140); c.fill();
  c.beginPath(); c.moveTo(326, 160); c.lineTo(322, 108); c.lineTo(292, 140); c.fill();
  c.strokeStyle = "#e39a4c"; c.lineWidth = 18; c.lineCap = "round";
  c.beginPath(); c.moveTo(96, 222); c.bezierCurveTo(30, 250, 40, 170, 74, 172); c.stroke();
  c.strokeStyle = "#3a2414"; c.lineWidth = 3.5;
  for (const x of [272, 308]) { c.beginPath(); c.arc(x, 172, 8, 0.3, 2.85); c.stroke(); }
  c.fillStyle = "#3a2414";
  c.beginPath(); c.moveTo(284, 188); c.lineTo(296, 188); c.lineTo(290, 195); c.fill();
  c.lineWidth = 2;
  for (const side of [-1, 1]) for (const y of [-3, 3]) {
    c.beginPath(); c.moveTo(290 + side * 14, 194 + y); c.lineTo(290 + side * 58, 192 + y * 4); c.stroke();
  }
}

/** [key of the question, draw] */
const EXAMPLES = [["exampleShapes", shapes], ["exampleEvening", evening], ["exampleCat", cat]];

/** The examples: { key, url }, drawn. */
export function examples() {
  return EXAMPLES.map(([key, draw]) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [400, 300];
    draw(canvas.getContext("2d"));
    return { key, url: canvas.toDataURL("image/png") };
  });
}
`;
