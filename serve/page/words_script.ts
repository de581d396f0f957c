/** The page's words in its languages. */
export const WORDS_SCRIPT: string = String.raw`
const WORDS = {
  en: {
    otherLanguage: "中", language: "Language: 中文", skip: "Skip to the question", model: "Model",
    fresh: "New chat", theme: "Light or dark", settings: "Settings", close: "Close",
    welcome: "Show me a picture.", welcomeMore: "Drop it here, paste it or choose it, and ask. It stays on the machine that serves this page.",
    attach: "Add pictures", question: "Ask about a picture…", send: "Send", stop: "Stop",
    hint: "Enter sends · Shift + Enter starts a line · Esc stops · pictures can be pasted",
    drop: "Drop the pictures", reset: "Reset to defaults", again: "Answer again", copy: "Copy", copied: "Copied",
    remove: "Remove the picture", look: "Look at the picture", answer: "Answer",
    stopped: "stopped", length: "cut off at its length", tokens: "tokens", perSecond: "tokens/s", first: "first after",
    offline: "The server cannot be reached.", badPicture: "This is not a picture that can be read: ", needsKey: "This server wants an API key; it stands in the settings.",
    temperature: "Temperature", temperatureMore: "How much chance there is; 0 always takes the likeliest word.",
    topP: "Top p", topPMore: "Only the likeliest tokens that together have this probability.",
    topK: "Top k", topKMore: "Only this many of the likeliest tokens; 0 for all.",
    maxTokens: "Longest answer", maxTokensMore: "In tokens.",
    presence: "Presence penalty", frequency: "Frequency penalty", penaltyMore: "Above 0, it repeats itself less.",
    seed: "Seed", seedMore: "The same seed gives the same answer.", random: "by chance",
    system: "System prompt", systemMore: "Said to the model before the conversation.", key: "API key", keyMore: "Forgotten when the tab is closed.",
    exampleShapes: "What do you see in this picture?", exampleEvening: "Describe this scene in one sentence.", exampleCat: "Which animal is this, and what is it doing?"
  },
  zh: {
    otherLanguage: "EN", language: "Language: English", skip: "跳到提问", model: "模型",
    fresh: "新对话", theme: "浅色或深色", settings: "设置", close: "关闭",
    welcome: "给我看一张图片。", welcomeMore: "拖放、粘贴或选择图片，然后提问。图片只会留在提供此页面的机器上。",
    attach: "添加图片", question: "就图片提问……", send: "发送", stop: "停止",
    hint: "Enter 发送 · Shift + Enter 换行 · Esc 停止 · 可直接粘贴图片",
    drop: "松开以添加图片", reset: "恢复默认", again: "重新回答", copy: "复制", copied: "已复制",
    remove: "移除图片", look: "查看图片", answer: "回答",
    stopped: "已停止", length: "达到长度上限", tokens: "个词元", perSecond: "词元/秒", first: "首个词元",
    offline: "无法连接服务器。", badPicture: "无法读取这张图片：", needsKey: "此服务器需要 API 密钥，请在设置中填写。",
    temperature: "温度", temperatureMore: "随机程度；0 总是选择最可能的词。",
    topP: "Top p", topPMore: "只从合计达到此概率的最可能词元中选择。",
    topK: "Top k", topKMore: "只考虑最可能的这么多词元；0 表示全部。",
    maxTokens: "最长回答", maxTokensMore: "以词元计。",
    presence: "存在惩罚", frequency: "频率惩罚", penaltyMore: "大于 0 时减少重复。",
    seed: "随机种子", seedMore: "相同的种子给出相同的回答。", random: "随机",
    system: "系统提示", systemMore: "在对话之前告诉模型。", key: "API 密钥", keyMore: "关闭标签页后即忘记。",
    exampleShapes: "这张图片里有什么？", exampleEvening: "用一句话描述这个场景。", exampleCat: "这是什么动物？它在做什么？"
  }
};

let language = localStorage.getItem("glimpse.language") || (navigator.language.startsWith("zh") ? "zh" : "en");

/** A word in the page's language. */
export function t(key) { return WORDS[language][key] ?? key; }

/** Puts the words where the markup wants them. */
export function translate(root = document) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const e of root.querySelectorAll("[data-t]")) e.textContent = t(e.dataset.t);
  for (const e of root.querySelectorAll("[data-t-title]")) { e.title = t(e.dataset.tTitle); e.setAttribute("aria-label", e.title); }
  for (const e of root.querySelectorAll("[data-t-placeholder]")) e.placeholder = t(e.dataset.tPlaceholder);
  for (const e of root.querySelectorAll("[data-t-label]")) e.setAttribute("aria-label", t(e.dataset.tLabel));
}

/** Goes on in the other language. */
export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("glimpse.language", language);
  translate();
}
`;
