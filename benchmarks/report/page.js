"use strict";
// The plots are drawn without a script. This shows the tips of marks, moves the budget,
// switches series, and chooses light or dark colours.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = document.querySelector(".theme");
let chosen = false;
const settle = (isDark) => {
  root.dataset.theme = isDark ? "dark" : "light";
  theme.textContent = isDark ? "Light" : "Dark";
  theme.setAttribute("aria-label", isDark ? "use light colours" : "use dark colours");
};
settle(dark.matches);
dark.addEventListener("change", (event) => { if (!chosen) settle(event.matches); });
theme.addEventListener("click", () => { chosen = true; settle(root.dataset.theme !== "dark"); });
theme.hidden = false;

const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);
const show = (mark) => {
  tip.textContent = mark.getAttribute("aria-label");
  tip.hidden = false;
  const box = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const middle = box.left + box.width / 2 - own.width / 2;
  const most = root.clientWidth - own.width - 6;
  const above = box.top - own.height - 8;
  tip.style.left = `${scrollX + Math.max(6, Math.min(middle, most))}px`;
  tip.style.top = `${scrollY + (above < 4 ? box.bottom + 8 : above)}px`;
};
const hide = () => { tip.hidden = true; };
const markOf = (event) => event.target instanceof Element && event.target.closest(".tip");
document.addEventListener("pointerover", (event) => {
  const mark = markOf(event);
  if (mark) show(mark); else hide();
});
document.addEventListener("focusin", (event) => {
  const mark = markOf(event);
  if (mark) show(mark); else hide();
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

// One stop of the tab key for a plot; arrows go from mark to mark, left to right.
for (const plot of document.querySelectorAll("svg.plot")) {
  const place = (mark) => mark.getBoundingClientRect().left;
  const marks = () => [...plot.querySelectorAll(".tip")].filter((m) => m.getClientRects().length);
  for (const [index, mark] of [...plot.querySelectorAll(".tip")].entries()) {
    mark.setAttribute("tabindex", index ? "-1" : "0");
  }
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const all = marks();
    if (plot.querySelector("[data-ms]")) all.sort((a, b) => place(a) - place(b));
    const at = all.indexOf(document.activeElement);
    let next = step && at >= 0 ? all[(at + step + all.length) % all.length] : null;
    if (event.key === "Home") next = all[0];
    if (event.key === "End") next = all[all.length - 1];
    if (!next) return;
    event.preventDefault();
    for (const mark of all) mark.setAttribute("tabindex", mark === next ? "0" : "-1");
    next.focus();
  });
}

for (const button of document.querySelectorAll("[data-key]")) {
  button.addEventListener("click", () => {
    const name = button.dataset.key, on = button.getAttribute("aria-pressed") !== "true";
    for (const each of document.querySelectorAll("[data-key]")) {
      if (each.dataset.key === name) each.setAttribute("aria-pressed", String(on));
    }
    for (const group of document.querySelectorAll("[data-series]")) {
      if (group.dataset.series === name) group.toggleAttribute("hidden", !on);
    }
    for (const box of document.querySelectorAll(".budget")) judge(box);
  });
}

function judge(box) {
  const budget = Number(box.querySelector(".amount").value);
  const card = box.parentElement;
  for (const plot of card.querySelectorAll("svg[data-low]")) {
    const { low, high } = plot.dataset;
    const share = Math.log(Math.max(budget, 1e-9) / low) / Math.log(high / low);
    const at = 100 * Math.max(0, Math.min(1, share));
    const limit = plot.querySelector(".limit"), beyond = plot.querySelector(".beyond");
    limit.setAttribute("x1", `${at}%`);
    limit.setAttribute("x2", `${at}%`);
    beyond.setAttribute("x", `${at}%`);
    beyond.setAttribute("width", `${100 - at}%`);
    // With several devices the best of each counts, else the best of all engines.
    const apart = "apart" in plot.dataset, lines = [];
    const groups = [...plot.querySelectorAll("[data-series]:not([hidden])")];
    for (const mark of plot.querySelectorAll("[data-best]")) mark.removeAttribute("data-best");
    for (const some of apart ? groups.map((group) => [group]) : [groups]) {
      const best = bestOf(some.flatMap((group) => [...group.querySelectorAll("[data-ms]")]), budget);
      if (best) best.setAttribute("data-best", "");
      const name = apart ? `${some[0].dataset.series}: ` : "";
      lines.push(name + (best ? best.dataset.summary : "nothing is within this budget"));
    }
    box.querySelector("output").textContent = lines.join("\n");
  }
}
function bestOf(marks, budget) {
  let best = null;
  for (const mark of marks) {
    const ms = Number(mark.dataset.ms), quality = Number(mark.dataset.quality);
    if (!(ms <= budget)) continue;
    const better = best === null || quality > Number(best.dataset.quality) ||
      (quality === Number(best.dataset.quality) && ms < Number(best.dataset.ms));
    if (better) best = mark;
  }
  return best;
}
for (const box of document.querySelectorAll(".budget")) {
  const amount = box.querySelector(".amount"), slider = box.querySelector("[type=range]");
  slider.addEventListener("input", () => {
    amount.value = Number((10 ** slider.value).toPrecision(3));
    judge(box);
  });
  amount.addEventListener("input", () => {
    if (amount.value > 0) slider.value = Math.log10(amount.value);
    judge(box);
  });
}
