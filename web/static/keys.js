/* Single letters are shortcuts, which somebody who talks to the machine sets off by chance: they can be turned off (WCAG 2.1.4). */
const KEPT = "fraud-shortcuts";
const box = document.getElementById("shortcuts");

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; /* a browser that keeps nothing: they are on, and can be turned off until the page is left */
  }
}

function keep(value) {
  try {
    localStorage.setItem(KEPT, value);
  } catch {
    /* as above */
  }
}

/* Say what shortcut a button has, as long as it has. To be called when there are new buttons. */
export function tell() {
  for (const each of document.querySelectorAll("[data-shortcut]")) {
    if (box.checked) each.setAttribute("aria-keyshortcuts", each.dataset.shortcut);
    else each.removeAttribute("aria-keyshortcuts");
  }
}

box.checked = kept() !== "off";
box.addEventListener("change", () => {
  keep(box.checked ? "on" : "off");
  tell();
});

/* Whether a key is to do nothing. Escape and Enter are no letters, and always work. */
export const silenced = (event) => event.key.length === 1 && !box.checked;
