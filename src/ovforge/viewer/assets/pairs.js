// The grid and the pair view. Works over the server's addresses, or over the data within an exported file.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const grid = $("grid"), canvas = $("canvas"), form = $("query"), dialog = $("pair");
  const PAGE = 60, PAGES_KEPT = 60, TALLEST = 12e6; // px; browsers end near 17 million
  const QUERY = ["name", "class", "freq", "size_from", "size_to", "objects_from", "objects_to", "fidelity_from",
    "fidelity_to", "sort"];
  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const el = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  // ---- state, kept in the address after the #, so that a link shows the same
  const state = { query: {}, pair: null, mode: "side", boxes: true, labels: true, mask: false };

  function readAddress() {
    const values = new URLSearchParams(location.hash.slice(1));
    state.query = {};
    for (const key of QUERY) if (values.get(key)) state.query[key] = values.get(key);
    state.pair = values.get("pair");
    state.mode = values.get("mode") === "slider" ? "slider" : "side";
    const hidden = (values.get("hide") || "").split(",");
    state.boxes = !hidden.includes("boxes");
    state.labels = !hidden.includes("labels");
    state.mask = values.get("mask") === "1";
  }

  function address() {
    const values = new URLSearchParams(state.query);
    if (state.pair) {
      values.set("pair", state.pair);
      if (state.mode !== "side") values.set("mode", state.mode);
      const hidden = ["boxes", "labels"].filter((key) => !state[key]);
      if (hidden.length) values.set("hide", hidden.join(","));
      if (state.mask) values.set("mask", "1");
    }
    return "#" + values;
  }

  function writeAddress(push = false) {
    if (address() === (location.hash || "#")) return;
    history[push ? "pushState" : "replaceState"](null, "", address());
  }

  // ---- where pairs come from
  const server = {
    async ask(path, values, signal) {
      const answer = await fetch(`/api/${path}?${new URLSearchParams(values)}`, { signal });
      const found = await answer.json();
      if (!answer.ok) throw new Error([found.error, found.hint].filter(Boolean).join(" — "));
      return found;
    },
    list: (query, offset, limit, signal) => server.ask("pairs", { ...query, offset, limit }, signal),
    pair: (name, query) => server.ask("pair", { ...query, pair: name }),
    thumb: (item, side) => `/thumb/${item.rows[side]}?${generation}`,
    image: (pair, side) => `/image/${pair.rows[side]}?${generation}`,
    mask: (pair) => `/mask/${pair.id}?${generation}`,
  };

  const within = { // an exported file holds its pairs itself
    select(query) {
      const set = (value) => value !== undefined && value !== "";
      const classes = set(query.class) ? query.class.split(",").map(Number) : null;
      const inside = (value, from, to) =>
        (!set(from) || (value !== null && value >= +from)) && (!set(to) || (value !== null && value <= +to));
      const perObject = ["class", "freq", "size_from", "size_to", "fidelity_from", "fidelity_to"].some((k) => set(query[k]));
      const found = data.pairs.filter((pair) => {
        const objects = pair.views[1].objects;
        if (set(query.name) && !pair.views.some((v) => v.name.toLowerCase().includes(query.name.toLowerCase()))) return false;
        if (!inside(objects.length, query.objects_from, query.objects_to)) return false;
        return !perObject || objects.some((o) => (!classes || classes.includes(classId(o.class))) &&
          (!set(query.freq) || (o.frequency && query.freq.includes(o.frequency))) &&
          inside(Math.sqrt(o.area), query.size_from, query.size_to) && inside(o.fidelity, query.fidelity_from, query.fidelity_to));
      });
      const key = { shrunk: (p) => p.change, grown: (p) => p.change && -p.change, fidelity: (p) => p.fidelity,
        "-fidelity": (p) => p.fidelity === null ? null : -p.fidelity, "-objects": (p) => -p.objects }[query.sort];
      if (key) found.sort((a, b) => (key(a) ?? Infinity) - (key(b) ?? Infinity) || 0);
      return found;
    },
    async list(query, offset, limit) {
      const found = within.select(query);
      return { total: found.length, offset, items: found.slice(offset, offset + limit), generation: data.generation };
    },
    async pair(name, query) {
      const pair = data.pairs.find((candidate) => candidate.name === name);
      if (!pair) throw new Error(`this file has no pair ${name}`);
      const selected = within.select(query), place = selected.indexOf(pair);
      return { ...pair, place: place < 0 ? null : place, among: selected.length };
    },
    thumb: (item, side) => data.images[item.views[side].name],
    image: (pair, side) => data.images[pair.views[side].name],
    mask: (pair) => data.masks[pair.name],
  };
  const source = data.file ? within : server;
  let generation = encodeURIComponent(data.generation);

  // ---- the grid: only the tiles in sight exist
  let total = data.total, pages = new Map(), waiting = new Map(), tiles = new Map(), active = 0;
  let columns = 1, tileWidth = 300, tileHeight = 150, problem = null;

  const ask = (query) => ({ ...query });
  const sameQuery = () => JSON.stringify(state.query);

  function layout() {
    const width = grid.clientWidth - 20;
    columns = Math.max(1, Math.floor(width / 300));
    tileWidth = Math.floor(width / columns);
    tileHeight = Math.round((tileWidth - 12) / 2 * 0.75) + 36;
    const rows = Math.ceil(total / columns);
    canvas.style.height = Math.min(rows * tileHeight + 20, TALLEST) + "px";
  }

  // A list taller than TALLEST is scrolled faster than it is drawn: `stretch` is by how much.
  function stretch() {
    const full = Math.ceil(total / columns) * tileHeight + 20, shown = Math.min(full, TALLEST);
    return (full - grid.clientHeight) / Math.max(1, shown - grid.clientHeight) || 1;
  }

  function draw() {
    const top = grid.scrollTop * Math.max(1, stretch());
    const first = Math.max(0, Math.floor(top / tileHeight) - 1) * columns;
    const last = Math.min(total, (Math.ceil((top + grid.clientHeight) / tileHeight) + 1) * columns);
    for (const [place, tile] of tiles) if (place < first || place >= last) { tile.remove(); tiles.delete(place); }
    for (let place = first; place < last; place++) {
      const item = known(place);
      let tile = tiles.get(place);
      if (!tile) {
        tile = el("a", { class: "tile", role: "listitem", tabindex: -1 });
        tiles.set(place, tile);
        canvas.append(tile);
      }
      const row = Math.floor(place / columns);
      tile.style.width = tileWidth + "px";
      tile.style.height = tileHeight + "px";
      tile.style.transform = `translate(${10 + (place % columns) * tileWidth}px, ${10 + row * tileHeight - top + grid.scrollTop}px)`;
      tile.tabIndex = place === active ? 0 : -1;
      if (item && tile.dataset.name !== item.name) fill(tile, item, place);
    }
    if (last > first) fetchPages(Math.floor(first / PAGE), Math.floor((last - 1) / PAGE));
    $("empty").hidden = total > 0 && !problem;
    $("empty").textContent = problem || (data.total || Object.keys(state.query).length ? "No pair is like that." : "No pair yet.");
  }

  function fill(tile, item, place) {
    tile.dataset.name = item.name;
    tile.dataset.place = place;
    tile.setAttribute("aria-posinset", place + 1);
    tile.setAttribute("aria-setsize", total);
    tile.setAttribute("aria-label", `${item.name}, ${plural(item.objects, "object")}`);
    const link = new URLSearchParams({ ...state.query, pair: item.name });
    tile.href = "#" + link;
    const notes = [plural(item.objects, "object")];
    if (item.change !== null) notes.push(`×${item.change.toFixed(2)}`);
    if (item.fidelity !== null) notes.push(`f ${item.fidelity.toFixed(2)}`);
    const line = el("div", { class: "line" }, el("b", {}, item.name), el("span", { title: "objects, change of their areas, lowest fidelity" }, notes.join(" · ")));
    tile.replaceChildren(el("div", { class: "two" }, small(item, 0), small(item, 1)), line);
  }

  function small(item, side) {
    const image = el("img", { src: source.thumb(item, side), alt: "", decoding: "async", draggable: "false" });
    image.onerror = () => image.classList.add("failed");
    return image;
  }

  const known = (place) => pages.get(Math.floor(place / PAGE))?.[place % PAGE];

  let asked = 0;
  function fetchPages(from, to) {
    for (const [page, stop] of waiting) if (page < from - 1 || page > to + 1) { stop.abort(); waiting.delete(page); }
    for (let page = from; page <= to; page++) if (!pages.has(page) && !waiting.has(page)) fetchPage(page);
    while (pages.size > PAGES_KEPT) {
      const farthest = [...pages.keys()].reduce((a, b) => Math.abs(a - from) > Math.abs(b - from) ? a : b);
      pages.delete(farthest);
    }
  }

  async function fetchPage(page) {
    const stop = new AbortController(), turn = asked, query = sameQuery();
    waiting.set(page, stop);
    try {
      const found = await source.list(ask(state.query), page * PAGE, PAGE, stop.signal);
      if (turn !== asked || query !== sameQuery()) return;
      problem = null;
      pages.set(page, found.items);
      setTotal(found);
    } catch (error) {
      if (error.name === "AbortError" || turn !== asked) return;
      problem = error.message;
    } finally {
      if (waiting.get(page) === stop) waiting.delete(page);
    }
    draw();
  }

  function setTotal(found) {
    const fresh = encodeURIComponent(found.generation);
    if (fresh !== generation) { // other positions: what is known does not hold any more
      generation = fresh;
      forget();
    }
    if (found.total !== total) { total = found.total; layout(); }
    showState();
  }

  function forget() {
    asked++;
    for (const stop of waiting.values()) stop.abort();
    waiting.clear();
    pages.clear();
    for (const tile of tiles.values()) tile.remove();
    tiles.clear();
  }

  function showState() {
    const filtered = Object.keys(state.query).some((key) => key !== "sort");
    const parts = [filtered ? `${plural(total, "pair")} of ${data.total.toLocaleString("en")}` : plural(total, "pair")];
    if (data.state?.unfinished) {
      parts.push(`${data.state.done.toLocaleString("en")} of ${data.state.planned.toLocaleString("en")} images done`);
    }
    $("state").textContent = parts.join(" · ");
  }

  function restart() {
    forget();
    problem = null;
    active = 0;
    grid.scrollTop = 0;
    fetchPage(0);
  }

  function moveTo(place) {
    if (!total) return;
    active = Math.min(Math.max(place, 0), total - 1);
    const top = Math.floor(active / columns) * tileHeight, ratio = Math.max(1, stretch());
    const shown = grid.scrollTop * ratio;
    if (top < shown) grid.scrollTop = top / ratio;
    else if (top + tileHeight + 20 > shown + grid.clientHeight) grid.scrollTop = (top + tileHeight + 20 - grid.clientHeight) / ratio;
    draw();
    tiles.get(active)?.focus({ preventScroll: true });
  }

  // ---- the query form
  const classId = (name) => data.classes.find((entry) => entry.name === name)?.id;
  const className = (id) => data.classes.find((entry) => entry.id === id)?.name;

  function readForm() {
    const query = {};
    for (const [key, value] of new FormData(form)) {
      if (key === "freq") query.freq = (query.freq || "") + value;
      else if (value.trim()) query[key] = value.trim();
    }
    if (query.class) {
      const exact = classId(query.class);
      const wanted = exact !== undefined ? [exact]
        : data.classes.filter((entry) => entry.name.includes(query.class)).map((entry) => entry.id);
      query.class = wanted.length ? wanted.slice(0, 200).join(",") : "-1";
    }
    return query;
  }

  function writeForm() {
    for (const field of form.elements) {
      if (!field.name) continue;
      const value = state.query[field.name] || "";
      if (field.type === "checkbox") field.checked = value.includes(field.value);
      else if (field.name === "class") {
        const ids = value ? value.split(",").map(Number) : [];
        // Several classes come from a part of their names, which stays as it was typed.
        if (ids.length <= 1 || !field.value) field.value = ids.length === 1 && ids[0] >= 0 ? className(ids[0]) ?? "" : ids.length ? field.value : "";
      } else field.value = value;
    }
  }

  let later;
  function queryChanged(delay) {
    clearTimeout(later);
    later = setTimeout(() => {
      const query = readForm();
      if (JSON.stringify(query) === sameQuery()) return;
      state.query = query;
      writeAddress();
      restart();
    }, delay);
  }

  form.addEventListener("input", () => queryChanged(200));
  form.addEventListener("submit", (event) => { event.preventDefault(); queryChanged(0); });
  form.addEventListener("reset", () => queryChanged(0));
  for (const entry of data.classes) {
    $("classes").append(el("option", { value: entry.name, label: `${entry.name} (${entry.objects.toLocaleString("en")})` }));
  }

  // ---- one pair large
  let shown = null, turn = 0, divide = 50;
  const colour = (track) => `oklch(0.8 0.16 ${(track * 137.508 + 60) % 360})`;

  async function showPair() {
    const mine = ++turn;
    if (!state.pair) {
      shown = null;
      if (dialog.open) dialog.close();
      document.title = `${data.name} · ovforge`;
      return;
    }
    if (!dialog.open) dialog.showModal();
    let pair;
    try {
      pair = await source.pair(state.pair, ask(state.query));
    } catch (error) {
      if (mine !== turn) return;
      shown = null;
      $("pair-name").textContent = state.pair;
      $("pair-place").textContent = "";
      for (const side of [0, 1]) $(`view-${side}`).firstElementChild.replaceChildren();
      $("facts").replaceChildren(el("p", { role: "alert" }, error.message));
      return;
    }
    if (mine !== turn) return;
    shown = pair;
    if (pair.place !== null) active = pair.place;
    document.title = `${pair.name} · ${data.name}`;
    $("pair-name").textContent = pair.name;
    $("pair-place").textContent = pair.place === null ? "not in this filter" : `${(pair.place + 1).toLocaleString("en")} of ${pair.among.toLocaleString("en")}`;
    $("previous").disabled = pair.place === null || pair.place === 0;
    $("next").disabled = pair.place === null || pair.place >= pair.among - 1;
    for (const side of [0, 1]) drawView(pair, side);
    drawFacts(pair);
    drawMode();
  }

  function drawView(pair, side) {
    const holder = $(`view-${side}`).firstElementChild, view = pair.views[side];
    holder.classList.remove("failed");
    const what = side ? "Second view" : "Original";
    const image = el("img", { src: source.image(pair, side), alt: `${what}, ${view.name}`, draggable: "false" });
    image.onerror = () => { image.remove(); holder.classList.add("failed"); };
    const boxes = view.objects.map((object) => {
      const [x, y, w, h] = object.box;
      const box = el("div", { class: "box", "data-track": object.track }, el("span", {}, object.class));
      box.style.left = 100 * x / view.width + "%";
      box.style.top = 100 * y / view.height + "%";
      box.style.width = 100 * w / view.width + "%";
      box.style.height = 100 * h / view.height + "%";
      box.style.setProperty("--c", colour(object.track));
      return box;
    });
    // Small ones last, so that a large one does not cover their labels.
    boxes.sort((a, b) => parseFloat(b.style.width) * parseFloat(b.style.height) - parseFloat(a.style.width) * parseFloat(a.style.height));
    holder.replaceChildren(image, ...boxes);
  }

  function drawFacts(pair) {
    const facts = $("facts"), fact = (title, ...content) => [el("h3", {}, title), ...content];
    const [before, after] = pair.views.map((view) => new Map(view.objects.map((object) => [object.track, object])));
    const rows = [...new Set([...before.keys(), ...after.keys()])].map((track) => {
      const a = before.get(track), b = after.get(track), object = b || a;
      const swatch = el("span", { class: "swatch" });
      swatch.style.setProperty("--c", colour(track));
      const change = a && b && a.area ? `×${(b.area / a.area).toFixed(2)}` : b ? "" : "left";
      const row = el("tr", {},
        el("td", { title: `track ${track}` }, swatch, object.class, object.frequency ? el("span", { class: "note" }, ` ${object.frequency}`) : ""),
        el("td", { class: "n", title: a && b ? `${a.area} to ${b.area} square pixels` : "" }, change),
        el("td", { class: "n" }, b && b.fidelity !== null ? b.fidelity.toFixed(3) : ""));
      row.onpointerenter = () => point(track);
      row.onpointerleave = () => point(null);
      return row;
    });
    const table = el("table", { class: "objects" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "class"), el("th", { scope: "col", class: "n" }, "area"), el("th", { scope: "col", class: "n" }, "fidelity"))),
      el("tbody", {}, ...rows));
    const engine = Object.entries(pair.engine || {}).map(([key, value]) => `${key}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join("\n");
    facts.replaceChildren(
      ...fact("Caption", pair.caption ? el("p", {}, pair.caption) : el("p", { class: "note" }, "none")),
      ...fact("Motion", el("p", {}, pair.motion || "not noted"),
        ...(pair.matrix ? [el("details", {}, el("summary", {}, "matrix"), el("pre", {}, pair.matrix.map((row) => row.map((n) => n.toPrecision(5).padStart(11)).join("")).join("\n")))] : [])),
      ...fact("Seed", el("p", {}, pair.seed === null ? "not noted" : String(pair.seed))),
      ...(engine ? fact("Engine", el("pre", {}, engine)) : []),
      ...fact(plural(rows.length, "object"), rows.length ? table : el("p", { class: "note" }, "none")),
      ...fact("Image ids", el("p", {}, pair.views.map((view) => view.image_id).join(" and "))));
  }

  function point(track) {
    const stage = $("stage");
    stage.classList.toggle("faded", track !== null);
    for (const box of stage.querySelectorAll(".box")) box.classList.toggle("strong", box.dataset.track === String(track));
  }

  function drawMode() {
    const stage = $("stage"), views = [0, 1].map((side) => $(`view-${side}`));
    stage.dataset.mode = state.mode;
    document.querySelector(`input[name=mode][value=${state.mode}]`).checked = true;
    $("boxes").checked = state.boxes;
    $("labels").checked = state.labels;
    stage.classList.toggle("no-boxes", !state.boxes);
    stage.classList.toggle("no-labels", !state.labels);
    $("divide-label").style.display = state.mode === "slider" ? "flex" : "none";
    const mask = $("mask"), has = Boolean(shown?.mask);
    mask.disabled = !has;
    mask.checked = state.mask && has;
    mask.parentElement.title = has ? "Shade what was repainted (m)" : "no mask was noted: generate with --masks";
    const second = views[1].firstElementChild;
    let shade = second.querySelector(".shade");
    if (mask.checked && !shade) second.querySelector("img")?.after(shade = el("img", { class: "shade", alt: "", src: source.mask(shown) }));
    else if (!mask.checked) shade?.remove();
    fit();
    drawDivide();
  }

  // Images as large as their place allows, proportions kept, small ones at most doubled.
  function fit() {
    if (!shown) return;
    const stage = $("stage"), narrow = matchMedia("(max-width: 899px)").matches, side = state.mode === "side";
    const wide = side && !narrow ? (stage.clientWidth - 10) / 2 : stage.clientWidth;
    const high = narrow ? innerHeight * 0.6 : stage.clientHeight - (side ? 26 : 0);
    for (const index of [0, 1]) {
      const view = shown.views[index], holder = $(`view-${index}`).firstElementChild;
      const scale = Math.min(wide / view.width, high / view.height, 2);
      holder.style.width = Math.floor(view.width * scale) + "px";
      holder.style.height = Math.floor(view.height * scale) + "px";
    }
  }

  function drawDivide() {
    const top = $("view-1").firstElementChild, slider = state.mode === "slider";
    let handle = top.querySelector(".handle");
    $("divide").value = divide;
    top.style.clipPath = "";
    $("view-1").style.clipPath = slider ? "none" : "";
    if (!slider) { handle?.remove(); return; }
    top.style.clipPath = `inset(0 0 0 ${divide}%)`;
    if (!handle) top.append(handle = el("div", { class: "handle" }));
    handle.style.left = divide + "%";
  }

  function set(changes) {
    Object.assign(state, changes);
    writeAddress();
    drawMode();
  }

  async function step(by) {
    if (!shown || shown.place === null) return;
    const place = shown.place + by;
    if (place < 0 || place >= shown.among) return;
    const item = known(place) || (await source.list(ask(state.query), place, 1)).items[0];
    if (!item) return;
    state.pair = item.name;
    writeAddress();
    showPair();
  }

  function flip() {
    if (state.mode === "side") { divide = 0; set({ mode: "slider" }); return; }
    divide = divide > 50 ? 0 : 100;
    drawDivide();
  }

  function closePair() {
    if (!state.pair) return;
    state.pair = null;
    writeAddress();
    showPair();
    moveTo(active);
  }

  async function share() {
    let said = "Link copied";
    try { await navigator.clipboard.writeText(location.href); } catch { said = "Copy it from the address bar"; }
    $("share").textContent = said;
    setTimeout(() => { $("share").textContent = "Copy link"; }, 1600);
  }

  $("previous").onclick = () => step(-1);
  $("next").onclick = () => step(1);
  $("close").onclick = closePair;
  $("share").onclick = share;
  $("boxes").onchange = (event) => set({ boxes: event.target.checked });
  $("labels").onchange = (event) => set({ labels: event.target.checked });
  $("mask").onchange = (event) => set({ mask: event.target.checked });
  for (const radio of document.querySelectorAll("input[name=mode]")) radio.onchange = () => set({ mode: radio.value });
  $("divide").oninput = (event) => { divide = +event.target.value; drawDivide(); };
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); closePair(); });
  const dragged = (event) => {
    const place = $("view-1").firstElementChild.getBoundingClientRect();
    divide = Math.min(100, Math.max(0, 100 * (event.clientX - place.left) / place.width));
    drawDivide();
  };
  $("stage").addEventListener("pointerdown", (event) => {
    if (state.mode !== "slider" || event.button) return;
    $("stage").setPointerCapture(event.pointerId);
    dragged(event);
  });
  $("stage").addEventListener("pointermove", (event) => { if ($("stage").hasPointerCapture(event.pointerId)) dragged(event); });

  // ---- keyboard
  $("help-button").onclick = () => $("help").showModal();
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const field = event.target.closest?.("input:not([type=checkbox]):not([type=radio]), select, textarea");
    if (field && !(field.id === "divide" && event.key === " ")) {
      if (event.key === "Escape" && field.form === form) { field.blur(); grid.focus(); }
      return;
    }
    const control = event.target.closest?.("button, summary, input");
    const keys = dialog.open ? {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), " ": flip,
      b: () => set({ boxes: !state.boxes }), l: () => set({ labels: !state.labels }),
      m: () => shown?.mask && set({ mask: !state.mask }), s: () => set({ mode: state.mode === "side" ? "slider" : "side" }),
      "?": () => $("help").showModal(),
    } : {
      ArrowLeft: () => moveTo(active - 1), ArrowRight: () => moveTo(active + 1),
      ArrowUp: () => moveTo(active - columns), ArrowDown: () => moveTo(active + columns),
      Home: () => moveTo(0), End: () => moveTo(total - 1),
      PageUp: () => moveTo(active - columns * Math.floor(grid.clientHeight / tileHeight)),
      PageDown: () => moveTo(active + columns * Math.floor(grid.clientHeight / tileHeight)),
      " ": () => openPlace(active), Enter: () => openPlace(active),
      "/": () => { $("filters").open = true; $("search").focus(); $("search").select(); },
      "?": () => $("help").showModal(),
    };
    if (control && (event.key === " " || event.key === "Enter" || (control.type === "radio" && event.key.startsWith("Arrow")))) return;
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  function openPlace(place) {
    const item = known(place);
    if (!item) return;
    active = place;
    state.pair = item.name;
    writeAddress(true);
    showPair();
  }

  canvas.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile?.dataset.name || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openPlace(+tile.dataset.place);
  });

  // ---- beginning
  let framed = false;
  grid.addEventListener("scroll", () => {
    if (framed) return;
    framed = true;
    requestAnimationFrame(() => { framed = false; draw(); });
  }, { passive: true });
  new ResizeObserver(() => { layout(); draw(); fit(); }).observe(grid);
  new ResizeObserver(fit).observe($("stage"));
  addEventListener("popstate", arrive);
  addEventListener("hashchange", arrive);

  function arrive() {
    const before = sameQuery();
    readAddress();
    writeForm();
    if (sameQuery() !== before) restart();
    showPair();
  }

  $("filters").open = matchMedia("(min-width: 900px)").matches;
  readAddress();
  writeForm();
  if (Object.keys(state.query).length) restart();
  else if (!data.file) pages.set(0, data.items.slice(0, PAGE));
  if (!data.file && data.items.length < Math.min(PAGE, data.total)) pages.delete(0);
  layout();
  showState();
  draw();
  showPair();

  // ---- a run that is going on grows under our eyes
  if (data.state?.unfinished) {
    const look = async () => {
      if (!document.hidden) {
        try {
          const now = await source.ask("state", {});
          const grown = now.total !== data.total;
          data.state = now;
          data.total = now.total;
          if (grown) {
            pages.clear(); // what is in sight is asked for again; tiles stay until it comes
            draw();
          }
          showState();
        } catch { /* the next look may find it again */ }
      }
      if (data.state.unfinished) setTimeout(look, 4000);
    };
    setTimeout(look, 4000);
  }
})();
