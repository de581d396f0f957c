/** The report's style sheet: light and dark as the reader's system asks, and plain on paper. */
export const REPORT_STYLE: string = /* css */ `
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #fff; --ink: #14171f; --soft: #5c6473; --faint: #e6e9ee;
  --first: #3358d4; --second: #c2570c; --third: #7b8494;
  --good: #18794e; --good-back: #e2f4ea; --warn: #9a5b00; --warn-back: #fdf0d9;
  --bad: #b42318; --bad-back: #fdeceb; --shadow: 0 1px 2px #10182814, 0 1px 8px #1018280a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1014; --card: #171a20; --ink: #e9ebf0; --soft: #9aa3b2; --faint: #272c36;
    --first: #86a3ff; --second: #f2a45f; --third: #8993a5;
    --good: #6fd6a0; --good-back: #12301f; --warn: #f0bd6a; --warn-back: #33260d;
    --bad: #ff9b91; --bad-back: #3a1614; --shadow: none;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 72px; }
header { margin-bottom: 28px; }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -0.02em; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; letter-spacing: -0.01em; margin: 44px 0 14px; }
h3 { font-size: 14px; font-weight: 600; margin: 0; }
p { margin: 0; }
.soft, figcaption p { color: var(--soft); }
.title { display: flex; flex-wrap: wrap; align-items: center; gap: 10px 14px; }
.badge {
  font-size: 12px; font-weight: 600; padding: 3px 10px; border-radius: 99px;
  color: var(--warn); background: var(--warn-back);
}
.badge.finished { color: var(--good); background: var(--good-back); }
.badge.failed { color: var(--bad); background: var(--bad-back); }
code, pre { font: 12.5px/1.6 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
pre {
  margin: 16px 0 0; padding: 12px 16px; border-radius: 10px; background: var(--card);
  border: 1px solid var(--faint); white-space: pre-wrap; overflow-wrap: anywhere;
}
.card {
  background: var(--card); border: 1px solid var(--faint); border-radius: 14px;
  box-shadow: var(--shadow);
}
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px; }
.tile { padding: 16px 18px; }
.tile dt { color: var(--soft); font-size: 13px; }
.tile dd { margin: 4px 0 0; font-size: 24px; font-weight: 620; letter-spacing: -0.02em; }
.tile small { display: block; font-size: 12.5px; font-weight: 400; letter-spacing: 0; color: var(--soft); }
dl { margin: 0; }
.notes { margin: 14px 0 0; padding: 12px 18px 12px 34px; color: var(--warn); background: var(--warn-back); border-radius: 10px; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 14px; }
.charts > :first-child, .charts > :last-child:nth-child(even) { grid-column: 1 / -1; }
figure { margin: 0; padding: 16px 18px 8px; display: flex; flex-direction: column; justify-content: space-between; }
figcaption { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-bottom: 8px; }
figcaption p { flex-basis: 100%; font-size: 13px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0; padding: 0; list-style: none; font-size: 13px; color: var(--soft); }
.legend li::before { content: ""; display: inline-block; width: 14px; height: 3px; border-radius: 2px; margin-right: 7px; vertical-align: middle; background: currentColor; }
.legend .first::before { background: var(--first); }
.legend .second::before { background: var(--second); }
.legend .third::before { background: var(--third); }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-size: 11.5px; fill: var(--soft); font-family: inherit; }
svg .x { text-anchor: middle; }
svg .y { text-anchor: end; }
svg path { fill: none; vector-effect: non-scaling-stroke; }
svg .grid { stroke: var(--faint); }
svg .mark { stroke: var(--third); stroke-dasharray: 1 4; opacity: 0.7; }
svg .line { stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .line.first { stroke: var(--first); }
svg .line.second { stroke: var(--second); }
svg .line.third { stroke: var(--third); }
svg .pale.first { stroke: var(--first); fill: none; opacity: 0.28; }
svg .pale.first[d$="Z"] { fill: var(--first); stroke: none; opacity: 0.2; }
svg .gap { fill: var(--second); opacity: 0.13; }
svg circle.first { fill: var(--first); }
svg circle.second { fill: var(--second); }
svg circle.third { fill: var(--third); }
.column > rect { fill: none; pointer-events: all; }
.tip { visibility: hidden; pointer-events: none; }
.column:hover .tip { visibility: visible; }
.tip .cross { stroke: var(--soft); opacity: 0.5; }
.tip > circle { stroke: var(--card); stroke-width: 1.5; }
.tip .box { fill: var(--card); stroke: var(--faint); filter: drop-shadow(0 2px 6px #0003); }
.tip text { fill: var(--ink); font-size: 12px; }
.tip .head { fill: var(--soft); }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 14px; }
.sample { overflow: hidden; padding: 0; }
.sample img { display: block; width: 100%; max-height: 240px; object-fit: contain; background: var(--faint); }
.sample dl { padding: 14px 18px 16px; }
.sample dt { font-size: 12px; color: var(--soft); margin-top: 10px; }
.sample dt:first-child { margin-top: 0; }
.sample dd { margin: 1px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin-top: 14px; }
summary { cursor: pointer; color: var(--soft); margin-bottom: 12px; }
.tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 14px; align-items: start; }
.stack { display: grid; gap: 14px; min-width: 0; }
.table { padding: 16px 18px; min-width: 0; }
table { width: 100%; border-collapse: collapse; font-size: 13.5px; margin-top: 8px; }
th, td { text-align: left; vertical-align: top; padding: 6px 0; border-top: 1px solid var(--faint); font-weight: 400; }
th { color: var(--soft); padding-right: 18px; width: 42%; overflow-wrap: anywhere; }
td { overflow-wrap: anywhere; }
footer { margin-top: 44px; font-size: 13px; color: var(--soft); }
@media (max-width: 760px) {
  main { padding: 24px 14px 48px; }
  .charts { grid-template-columns: minmax(0, 1fr); }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .wide { overflow-x: auto; }
  .wide svg { width: auto; min-width: 100%; height: 230px; }
}
@media print {
  body { background: #fff; }
  .card, pre { break-inside: avoid; box-shadow: none; }
}
`;
