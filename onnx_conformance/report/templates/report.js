"use strict";
/* Filter, search and copy. Without it the page shows the same, but for cases packed for size. */
(() => {
  const cases = [...document.querySelectorAll("details.case")];
  const groups = [...document.querySelectorAll("section.model")];
  const search = document.querySelector("#search"), told = document.querySelector("#shown");
  const boxes = [...document.querySelectorAll("input[name=verdict]")];
  const words = cases.map(c => (c.dataset.words || c.querySelector("summary").textContent).toLowerCase());

  function filter() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = new Set(boxes.filter(box => box.checked).map(box => box.value));
    let shown = 0;
    cases.forEach((one, place) => {
      const fits = (!verdicts.size || verdicts.has(one.dataset.verdict)) &&
        wanted.every(word => words[place].includes(word));
      if (one.hidden === fits) one.hidden = !fits;
      shown += fits;
    });
    groups.forEach(group => { group.hidden = !group.querySelector("details.case:not([hidden])"); });
    told.textContent = shown === cases.length ? `${shown} cases` : `${shown} of ${cases.length} cases`;
  }

  /* Bodies of many cases are packed in chunks, each a gzip of a JSON list of HTML. */
  const unpacked = new Map();
  function chunk(number) {
    if (!unpacked.has(number)) {
      const text = document.querySelector(`#packed-${number}`).textContent.trim();
      const bytes = Uint8Array.from(atob(text), sign => sign.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      unpacked.set(number, new Response(stream).json());
    }
    return unpacked.get(number);
  }
  async function fill(one) {
    const place = one.dataset.packed;
    if (place === undefined) return;
    delete one.dataset.packed;
    const [number, entry] = place.split(":").map(Number);
    const bodies = await chunk(number);
    one.querySelector("div").innerHTML = bodies[entry];
    copying(one);
  }

  function copying(root) {
    if (!navigator.clipboard) return;
    root.querySelectorAll("code.command").forEach(code => {
      const button = document.createElement("button");
      button.type = "button"; button.className = "copy"; button.textContent = "copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
        setTimeout(() => { button.textContent = "copy"; }, 1500);
      });
      code.after(" ", button);
    });
  }

  async function follow() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const one = target && target.closest("details.case");
    if (!one) return;
    if (one.hidden) { search.value = ""; boxes.forEach(box => { box.checked = false; }); filter(); }
    one.open = true;
    await fill(one);
    one.scrollIntoView();
    one.querySelector("summary").focus({ preventScroll: true });
  }

  document.querySelectorAll("a[href^='#case-']").forEach(link => link.addEventListener("click", () => {
    if (link.hash === location.hash) follow();
  }));
  cases.forEach(one => one.addEventListener("toggle", () => { if (one.open) fill(one); }));
  addEventListener("hashchange", follow);
  addEventListener("beforeprint", () => cases.forEach(one => { if (one.open) fill(one); }));
  addEventListener("keydown", event => {
    const typing = event.target.matches("input, textarea");
    if (event.key === "/" && !typing && search) { event.preventDefault(); search.focus(); }
    if (event.key === "Escape" && event.target === search) { search.value = ""; filter(); }
  });
  if (search) {
    document.querySelector("#filter").hidden = false;
    search.addEventListener("input", filter);
    boxes.forEach(box => box.addEventListener("change", filter));
    filter();
  }
  copying(document);
  follow();
})();
