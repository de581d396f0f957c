/** The page's markup. Words with `data-t` are put in by the page's language. */
export const HTML: string = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover, interactive-widget=resizes-content">
<meta name="color-scheme" content="light dark">
<meta name="theme-color" media="(prefers-color-scheme: light)" content="#f7f4ee">
<meta name="theme-color" media="(prefers-color-scheme: dark)" content="#171513">
<title>Glimpse</title>
<link rel="icon" href="/page/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/page/style.css">
<script type="module" src="/page/app.js"></script>
</head>
<body>
<a class="skip" href="#question" data-t="skip"></a>
<header>
  <img class="mark" src="/page/icon.svg" alt="" width="28" height="28">
  <h1>Glimpse</h1>
  <label class="picker"><span class="hidden" data-t="model"></span><select id="model"></select></label>
  <span class="space"></span>
  <button type="button" id="fresh" class="quiet" data-t-title="fresh" hidden>
    <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 5v14M5 12h14"/></svg><span data-t="fresh"></span>
  </button>
  <button type="button" id="language" class="quiet" data-t-title="language"><span data-t="otherLanguage"></span></button>
  <button type="button" id="theme" class="quiet" data-t-title="theme">
    <svg viewBox="0 0 24 24" aria-hidden="true" class="sun"><circle cx="12" cy="12" r="4"/><path d="M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4"/></svg>
    <svg viewBox="0 0 24 24" aria-hidden="true" class="moon"><path d="M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z"/></svg>
  </button>
  <button type="button" id="adjust" class="quiet" data-t-title="settings" aria-haspopup="dialog">
    <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 7h9M19 7h1M4 17h1M11 17h9"/><circle cx="16" cy="7" r="2.5"/><circle cx="8" cy="17" r="2.5"/></svg>
  </button>
</header>
<main id="scroll">
  <section id="welcome">
    <h2 data-t="welcome"></h2>
    <p data-t="welcomeMore"></p>
    <div id="examples"></div>
  </section>
  <div id="turns" role="log" aria-live="polite"></div>
</main>
<form id="ask" autocomplete="off">
  <p id="notice" class="failed" role="alert" hidden></p>
  <div class="box">
    <div id="shown"></div>
    <div class="line">
      <button type="button" id="attach" class="round quiet" data-t-title="attach">
        <svg viewBox="0 0 24 24" aria-hidden="true"><rect x="3.5" y="4.5" width="17" height="15" rx="3"/><circle cx="9" cy="10" r="1.8"/><path d="m4.5 17.5 5-4.5 3.5 3 3-2.5 4 3.5"/></svg>
      </button>
      <input type="file" id="files" accept="image/*" multiple hidden>
      <textarea id="question" rows="1" data-t-placeholder="question" data-t-label="question"></textarea>
      <button type="submit" id="send" class="round" data-t-title="send">
        <svg viewBox="0 0 24 24" aria-hidden="true" class="go"><path d="M12 19V5M5.5 11.5 12 5l6.5 6.5"/></svg>
        <svg viewBox="0 0 24 24" aria-hidden="true" class="halt"><rect x="7" y="7" width="10" height="10" rx="2"/></svg>
      </button>
    </div>
  </div>
  <p class="hint" data-t="hint"></p>
</form>
<div id="drop" hidden><p data-t="drop"></p></div>
<dialog id="settings">
  <form method="dialog">
    <header><h2 data-t="settings"></h2><button class="quiet round" data-t-title="close"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="m6 6 12 12M18 6 6 18"/></svg></button></header>
    <div id="controls"></div>
    <button type="button" id="reset" class="quiet" data-t="reset"></button>
  </form>
</dialog>
<dialog id="large"><button type="button" class="quiet round" data-t-title="close"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="m6 6 12 12M18 6 6 18"/></svg></button><img alt=""></dialog>
<noscript>This page needs JavaScript.</noscript>
</body>
</html>
`;
