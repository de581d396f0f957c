/** The page's style. */
export const STYLE: string = `
:root {
  color-scheme: light dark;
  --paper: light-dark(#f7f4ee, #171513);
  --card: light-dark(#ffffff, #211e1b);
  --ink: light-dark(#211d19, #ece6dd);
  --soft: light-dark(#6f675d, #a39a8e);
  --line: light-dark(#e3dcd0, #38332d);
  --mine: light-dark(#efe8dc, #2c2824);
  --accent: light-dark(#b5481f, #ee8a5c);
  --on-accent: light-dark(#ffffff, #22130b);
  --wrong: light-dark(#a3261c, #ff9b8f);
  --shadow: 0 1px 2px light-dark(#40301a14, #0006), 0 8px 30px light-dark(#40301a14, #0006);
  font: 16px/1.6 ui-sans-serif, system-ui, -apple-system, "Segoe UI", "Noto Sans", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
  color: var(--ink);
  background: var(--paper);
  -webkit-text-size-adjust: 100%;
}
:root[data-theme="light"] { color-scheme: light; }
:root[data-theme="dark"] { color-scheme: dark; }
* { box-sizing: border-box; scrollbar-width: thin; scrollbar-color: color-mix(in srgb, var(--ink) 22%, transparent) transparent; }
[hidden] { display: none !important; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
body {
  margin: 0;
  height: 100dvh;
  display: grid;
  grid-template: auto 1fr auto / minmax(0, 1fr);
  overflow: hidden;
}
h1, h2, p { margin: 0; }
h1, h2 { font-family: ui-serif, "Iowan Old Style", "Palatino Linotype", Palatino, Georgia, "Songti SC", "Noto Serif CJK SC", serif; font-weight: 600; letter-spacing: -.01em; }
button, select, textarea, input { font: inherit; color: inherit; }
button { cursor: pointer; border: 0; background: none; padding: 0; }
svg { width: 20px; height: 20px; fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; display: block; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.skip { position: fixed; top: -4rem; left: 1rem; z-index: 9; background: var(--card); color: var(--ink); padding: .5rem 1rem; border-radius: .6rem; }
.skip:focus { top: .6rem; }

body > header {
  display: flex;
  align-items: center;
  gap: .35rem;
  padding: .55rem max(1rem, env(safe-area-inset-right)) .55rem max(1rem, env(safe-area-inset-left));
}
.mark { display: block; border-radius: 8px; }
h1 { font-size: 1.2rem; margin-inline: .35rem .6rem; }
.space { flex: 1; }
.quiet { display: inline-flex; align-items: center; justify-content: center; gap: .4rem; min-width: 38px; height: 38px; padding: 0 .6rem; border-radius: 12px; color: var(--soft); font-size: .9rem; transition: background .15s, color .15s; }
.quiet:hover { background: color-mix(in srgb, var(--ink) 8%, transparent); color: var(--ink); }
.round { border-radius: 50%; width: 40px; height: 40px; min-width: 40px; padding: 0; flex: none; display: inline-grid; place-items: center; }
.picker { position: relative; min-width: 0; }
select {
  width: 100%;
  appearance: none;
  max-width: 15rem;
  height: 34px;
  padding: 0 1.9rem 0 .8rem;
  text-overflow: ellipsis;
  border: 1px solid var(--line);
  border-radius: 999px;
  background: transparent;
  font-size: .88rem;
  color: var(--soft);
}
select option { background: var(--card); color: var(--ink); }
.picker::after { content: ""; position: absolute; right: .85rem; top: 13px; width: 6px; height: 6px; border: solid var(--soft); border-width: 0 1.6px 1.6px 0; rotate: 45deg; pointer-events: none; }
.moon { display: none; }
@media (prefers-color-scheme: dark) { :root:not([data-theme="light"]) .moon { display: block; } :root:not([data-theme="light"]) .sun { display: none; } }
:root[data-theme="dark"] .moon { display: block; }
:root[data-theme="dark"] .sun { display: none; }

main { overflow-y: auto; scrollbar-gutter: stable both-edges; overscroll-behavior: contain; padding-inline: 1rem; }
#welcome, #turns, #ask > * { max-width: 46rem; margin-inline: auto; }
#welcome { min-height: 100%; display: flex; flex-direction: column; justify-content: center; padding-block: 2rem; }
#welcome h2 { font-size: clamp(2rem, 6vw, 3.1rem); line-height: 1.12; text-wrap: balance; }
#welcome p { color: var(--soft); margin-top: .7rem; font-size: 1.05rem; max-width: 36rem; text-wrap: pretty; }
#examples { display: grid; grid-template-columns: repeat(3, 1fr); gap: .9rem; margin-top: 2.2rem; }
.example { text-align: left; background: var(--card); border: 1px solid var(--line); border-radius: 18px; overflow: hidden; transition: translate .2s, box-shadow .2s, border-color .2s; }
.example:hover { translate: 0 -3px; box-shadow: var(--shadow); border-color: color-mix(in srgb, var(--accent) 45%, var(--line)); }
.example img { display: block; width: 100%; aspect-ratio: 4 / 3; object-fit: cover; }
.example span { display: block; padding: .7rem .9rem .8rem; font-size: .92rem; line-height: 1.4; }

#turns { display: flex; flex-direction: column; gap: 1.5rem; padding-block: 1.2rem 2rem; }
#turns:empty { display: none; }
.turn { display: flex; flex-direction: column; gap: .5rem; min-width: 0; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
.mine { align-items: flex-end; }
.mine .text { background: var(--mine); border-radius: 20px 20px 6px 20px; padding: .55rem 1rem; max-width: min(88%, 36rem); }
.seen { display: flex; flex-wrap: wrap; gap: .5rem; justify-content: flex-end; max-width: 88%; }
.seen button { border-radius: 16px; overflow: hidden; border: 1px solid var(--line); background: var(--card); }
.seen img { display: block; max-height: 220px; max-width: min(320px, 70vw); min-width: 56px; min-height: 56px; object-fit: contain; }
.seen.many img { width: min(150px, 36vw); height: min(150px, 36vw); object-fit: cover; }
.theirs { padding-left: 2.9rem; position: relative; }
.theirs::before { content: ""; position: absolute; left: 0; top: 0; width: 30px; height: 30px; border-radius: 9px; background: url("/page/icon.svg") center / cover; }
.theirs .text { min-height: 1.6em; padding-top: 2px; }
.running .text::after { content: ""; display: inline-block; width: .5em; height: 1.05em; margin-left: .12em; vertical-align: -.16em; border-radius: 2px; background: var(--accent); animation: blink 1s steps(2, jump-none) infinite; }
@keyframes blink { from { opacity: 1; } to { opacity: .15; } }
.about { display: flex; flex-wrap: wrap; align-items: center; gap: .15rem; font-size: .8rem; color: var(--soft); margin-left: -.45rem; font-variant-numeric: tabular-nums; }
.about .quiet { height: 30px; min-width: 30px; padding: 0 .45rem; border-radius: 9px; font-size: .8rem; }
.about svg { width: 16px; height: 16px; }
.about span { padding-inline: .45rem; }
.failed { color: var(--wrong); border: 1px solid color-mix(in srgb, var(--wrong) 35%, transparent); background: color-mix(in srgb, var(--wrong) 7%, transparent); border-radius: 14px; padding: .55rem .9rem; font-size: .93rem; overflow-wrap: anywhere; }

#notice { margin-bottom: .5rem; background: color-mix(in srgb, var(--wrong) 7%, var(--paper)); }
#ask { padding: .3rem 1rem max(.7rem, env(safe-area-inset-bottom)); }
.box { background: var(--card); border: 1px solid var(--line); border-radius: 26px; box-shadow: var(--shadow); padding: .42rem; transition: border-color .15s; }
.box:focus-within { border-color: color-mix(in srgb, var(--accent) 60%, var(--line)); }
.line { display: flex; align-items: flex-end; gap: .25rem; }
#question { flex: 1; min-width: 0; resize: none; border: 0; outline: 0; background: none; padding: .45rem .35rem; line-height: 1.5; max-height: 11rem; overflow-y: auto; field-sizing: content; }
#question:focus-visible { outline: none; }
textarea::placeholder { color: var(--soft); opacity: .85; }
#send { background: var(--accent); color: var(--on-accent); transition: opacity .15s, scale .1s; }
#send:active { scale: .94; }
#send:disabled { background: var(--line); color: var(--soft); cursor: default; }
#send .halt, .busy #send .go { display: none; }
.busy #send .halt { display: block; fill: currentColor; }
#shown { display: flex; flex-wrap: wrap; gap: .5rem; padding: .35rem .35rem .5rem; }
#shown:empty { display: none; }
.thumb { position: relative; }
.thumb img { display: block; width: 68px; height: 68px; object-fit: cover; border-radius: 14px; border: 1px solid var(--line); }
.thumb button { position: absolute; top: -7px; right: -7px; width: 24px; height: 24px; display: grid; place-items: center; border-radius: 50%; background: var(--ink); color: var(--paper); }
.thumb svg { width: 13px; height: 13px; stroke-width: 2.4; }
.hint { text-align: center; color: var(--soft); font-size: .76rem; padding-top: .45rem; }
#drop { position: fixed; inset: 0; z-index: 5; display: grid; place-items: center; background: color-mix(in srgb, var(--paper) 82%, transparent); backdrop-filter: blur(6px); pointer-events: none; }
#drop p { border: 2px dashed var(--accent); border-radius: 24px; padding: 3rem 4rem; font-size: 1.2rem; color: var(--accent); }

dialog { border: 1px solid var(--line); border-radius: 24px; background: var(--card); color: var(--ink); padding: 0; box-shadow: var(--shadow); }
dialog::backdrop { background: #0007; }
#settings { width: min(27rem, calc(100vw - 2rem)); max-height: calc(100dvh - 2rem); }
#settings form { padding: 1rem 1.3rem 1.1rem; }
#settings header { display: flex; justify-content: space-between; align-items: center; margin-bottom: .3rem; }
#settings h2 { font-size: 1.25rem; }
#settings header .quiet { margin-right: -.6rem; }
.control { display: grid; grid-template-columns: 1fr auto; gap: .1rem .8rem; padding: .5rem 0; font-size: .93rem; }
.control small { grid-column: 1 / -1; color: var(--soft); line-height: 1.35; font-size: .8rem; }
.control output { color: var(--soft); font-variant-numeric: tabular-nums; }
.control input[type="range"], .control textarea, .control input.wide { grid-column: 1 / -1; width: 100%; }
.control input[type="range"] { accent-color: var(--accent); margin: .35rem 0 .15rem; border-radius: 6px; }
.control textarea, .control input:not([type="range"]) { border: 1px solid var(--line); border-radius: 12px; background: var(--paper); padding: .4rem .7rem; }
.control textarea { min-height: 4.2rem; max-height: 9rem; }
.control input.short { width: 7.5rem; }
#reset { margin: .3rem 0 0 -.6rem; }
#large { padding: 0; border: 0; background: none; box-shadow: none; max-width: 96vw; max-height: 96dvh; overflow: visible; }
#large img { display: block; max-width: 92vw; max-height: 90dvh; min-width: min(224px, 60vw); border-radius: 16px; image-rendering: auto; }
#large button { position: absolute; right: .6rem; top: .6rem; background: #000a; color: #fff; }

@media (max-width: 640px) {
  body > header { gap: 0; padding-block: .4rem; }
  h1 { font-size: 1.08rem; margin-inline: .45rem .5rem; }
  #fresh span, body:has(#fresh:not([hidden])) h1 { display: none; }
  body:has(#fresh:not([hidden])) .mark { margin-right: .5rem; }
  .picker { flex: 0 1 9rem; }
  .quiet { padding: 0 .45rem; }
  #welcome { padding-block: 1rem; }
  #examples { grid-template-columns: none; grid-auto-flow: column; grid-auto-columns: 58%; overflow-x: auto; margin-inline: -1rem; padding-inline: 1rem; scroll-snap-type: x proximity; scrollbar-width: none; margin-top: 1.3rem; }
  .example { scroll-snap-align: center; }
  .example:hover { translate: none; }
  .theirs { padding-left: 0; padding-top: 2.4rem; }
  .hint { display: none; }
  #ask { padding-inline: .6rem; }
}
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
`;
