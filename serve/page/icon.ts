/** The sign of the page: an eye that is about to open. */
export const ICON: string =
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="16" fill="#b5481f"/><path d="M9 34c6-11 14-16 23-16s17 5 23 16c-6 9-14 14-23 14S15 43 9 34Z" fill="#fff6ee"/><circle cx="32" cy="33" r="10.5" fill="#2a1a12"/><circle cx="36" cy="29" r="3.2" fill="#fff6ee"/></svg>`;
