"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const label = () => { button.textContent = current() === "dark" ? "Light" : "Dark"; };
  const remembered = () => { try { return localStorage.getItem("penstock-theme"); } catch { return null; } };
  if (["light", "dark"].includes(remembered())) root.dataset.theme = remembered();
  button.addEventListener("click", () => {
    root.dataset.theme = current() === "dark" ? "light" : "dark";
    try { localStorage.setItem("penstock-theme", root.dataset.theme); } catch { /* a page from a file may have no storage */ }
    label();
  });
  system.addEventListener("change", label);
  label();

  const open = () => {
    const found = location.hash && document.getElementById(location.hash.slice(1));
    if (!found || !found.classList.contains("step")) return;
    found.hidden = false;
    found.open = true;
    found.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();

  for (const fit of document.querySelectorAll("[data-fit]")) {
    const box = document.getElementById(fit.dataset.fit);
    const set = (on) => { box.classList.toggle("fitted", on); fit.setAttribute("aria-pressed", String(on)); };
    const picture = box.querySelector("svg");
    const share = box.clientWidth / picture.width.baseVal.value;
    fit.hidden = share >= 1;
    set(share > 0.6);
    fit.addEventListener("click", () => set(!box.classList.contains("fitted")));
  }

  const steps = [...document.querySelectorAll(".steps > .step")];
  const search = document.getElementById("search");
  const told = document.getElementById("told");
  const states = [...document.querySelectorAll("[data-state]")];
  if (!search) return;
  const unmark = () => {
    for (const mark of document.querySelectorAll(".steps mark")) mark.replaceWith(mark.textContent);
    for (const each of document.querySelectorAll(".steps pre")) each.normalize();
  };
  const mark = (element, text) => {
    const content = element.textContent, lower = content.toLowerCase(), parts = [];
    let at = 0;
    for (let next = lower.indexOf(text); next >= 0 && parts.length < 400; next = lower.indexOf(text, at)) {
      const found = document.createElement("mark");
      found.textContent = content.slice(next, next + text.length);
      parts.push(content.slice(at, next), found);
      at = next + text.length;
    }
    if (parts.length) element.replaceChildren(...parts, content.slice(at));
  };
  const show = () => {
    const text = search.value.trim().toLowerCase();
    const wanted = states.filter((each) => each.getAttribute("aria-pressed") === "true").map((each) => each.dataset.state);
    let count = 0;
    unmark();
    for (const step of steps) {
      const named = step.dataset.name.toLowerCase().includes(text);
      const logs = text && step.textContent.toLowerCase().includes(text);
      const shown = (named || logs) && (!wanted.length || wanted.includes(step.dataset.is));
      step.hidden = !shown;
      count += shown;
      if (!text) continue;
      if (shown && logs && !named) step.open = true;
      for (const each of step.querySelectorAll("pre")) if (shown) mark(each, text);
    }
    told.textContent = count === steps.length ? "" : `${count} of ${steps.length}`;
  };
  let pending;
  search.addEventListener("input", () => { clearTimeout(pending); pending = setTimeout(show, 120); });
  for (const each of states) {
    each.addEventListener("click", () => {
      each.setAttribute("aria-pressed", String(each.getAttribute("aria-pressed") !== "true"));
      show();
    });
  }
  document.getElementById("unfold").addEventListener("click", (event) => {
    const shut = steps.filter((each) => !each.hidden).some((each) => !each.open);
    for (const each of steps) if (!each.hidden) each.open = shut;
    event.currentTarget.textContent = shut ? "Fold all" : "Unfold all";
  });
})();
