"use strict";
// Filter, order and decide. The page says all it has to say without this.
(function () {
  const all = (query, within) => Array.from((within || document).querySelectorAll(query));
  const byId = (id) => document.getElementById(id);
  const issues = all(".issue").map((card, place) => ({
    card, place, score: Number(card.dataset.score), text: card.textContent.toLowerCase(),
    label: (card.querySelector("figcaption b") || card).textContent.trim(),
    path: (card.querySelector(".file") || card).textContent.trim(),
  }));
  if (!issues.length) return;
  all(".js").forEach((part) => { if (!part.classList.contains("basket")) part.hidden = false; });

  byId("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    issues.forEach((issue) => {
      issue.card.hidden = !words.every((word) => issue.text.includes(word));
      shown += issue.card.hidden ? 0 : 1;
    });
    all("section.check").forEach((part) => { part.hidden = !part.querySelector(".issue:not([hidden])"); });
    byId("matches").textContent = words.length ? shown + " of " + issues.length : "";
  });

  byId("order").addEventListener("change", (event) => {
    const key = event.target.value;
    const sorted = issues.slice().sort((a, b) => key === "score" ? b.score - a.score || a.place - b.place
      : a[key].localeCompare(b[key]) || a.place - b.place);
    sorted.forEach((issue) => issue.card.parentNode.appendChild(issue.card));
  });

  // One photo may stand on several cards: what is decided of it shows on all of them.
  const decided = new Map();
  const buttons = new Map();
  const shown = (choice) => choice ? (choice.action === "relabel" ? "relabel: " + choice.label : choice.action) : "decide";
  const show = (path) => buttons.get(path).forEach((button) => {
    const choice = decided.get(path);
    button.textContent = shown(choice);
    if (choice) button.dataset.choice = choice.action; else delete button.dataset.choice;
  });
  const count = () => {
    document.querySelector(".basket").hidden = !decided.size;
    byId("decided").textContent = decided.size + (decided.size === 1 ? " decision" : " decisions");
  };
  all(".shot[data-path]").forEach((shot) => {
    const path = shot.dataset.path, to = shot.dataset.to;
    const choices = (to ? [{ action: "relabel", label: to }] : []).concat([{ action: "drop" }, { action: "keep" }]);
    const check = shot.closest("section").id.slice("check-".length);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "choose";
    button.setAttribute("aria-label", "decide on " + path);
    buttons.set(path, (buttons.get(path) || []).concat(button));
    button.addEventListener("click", () => {
      const now = decided.get(path);
      const next = choices[choices.findIndex((choice) => now && choice.action === now.action) + 1];
      if (next) decided.set(path, Object.assign({ check }, next)); else decided.delete(path);
      show(path);
      count();
    });
    (shot.closest(".cards.alone .issue") || shot).appendChild(button);
    show(path);
  });
  const field = (text) => /[",\r\n]|^\s|\s$/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  const table = () => "action,target,label,reason\n" + Array.from(decided, ([path, choice]) =>
    [choice.action, path, choice.label || "", "decided on the page of " + choice.check].map(field).join(",") + "\n").join("");
  byId("save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
    link.download = "decisions.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  byId("copy").addEventListener("click", () => {
    const text = document.createElement("textarea");
    text.value = table();
    document.body.appendChild(text);
    text.select();
    document.execCommand("copy");
    text.remove();
  });
  byId("forget").addEventListener("click", () => {
    const paths = Array.from(decided.keys());
    decided.clear();
    paths.forEach(show);
    count();
  });
})();
