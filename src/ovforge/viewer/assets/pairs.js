// The grid, the pair view and the clip view. Works over the server's addresses, or over the data within an exported file.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const grid = $("grid"), canvas = $("canvas"), form = $("query"), dialog = $("pair");
  const PAGE = 60, PAGES_KEPT = 60, TALLEST = 12e6; // px; browsers end near 17 million
  const QUERY = ["name", "class", "freq", "size_from", "size_to", "objects_from", "objects_to", "fidelity_from",
    "fidelity_to", "sort", "verdict", "tag", "motion", "first_from", "first_to", "scale_from", "scale_to",
    "rotation_from", "rotation_to", ...["visibility", "sharpness", "boundary", "colour", "repeated", "same", "margin",
      "found", "extra"].flatMap((name) => [`${name}_from`, `${name}_to`])];
  const ONE = data.clips ? "clip" : "pair";
  // Filters that a clip's frame fulfils: that frame is opened. All others are of the clip as a whole.
  const OF_FRAMES = QUERY.filter((key) => !["name", "verdict", "tag"].includes(key));
  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const el = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  // ---- state, kept in the address after the #, so that a link shows the same
  const state = { query: {}, pair: null, mode: "side", boxes: true, labels: true, outlines: false, mask: false,
    divide: 50, zoom: { k: 1, x: 0, y: 0 }, tiles: true, frame: 0, speed: 4, loop: true };

  function readAddress() {
    const values = new URLSearchParams(location.hash.slice(1));
    state.query = {};
    for (const key of QUERY) if (values.get(key)) state.query[key] = values.get(key);
    state.pair = values.get("pair");
    state.mode = values.get("mode") === "slider" ? "slider" : "side";
    const hidden = (values.get("hide") || "").split(",");
    state.boxes = !hidden.includes("boxes");
    state.labels = !hidden.includes("labels");
    state.outlines = values.get("outlines") === "1";
    state.mask = values.get("mask") === "1";
    state.tiles = !hidden.includes("tiles");
    state.frame = Math.max(0, Math.floor(+values.get("frame")) || 0);
    state.speed = +values.get("speed") || 4;
    state.loop = values.get("loop") !== "0";
    const divided = values.get("divide");
    if (divided !== null && isFinite(+divided)) state.divide = Math.min(100, Math.max(0, +divided));
    const [k, x, y] = (values.get("zoom") || "").split(",").map(Number);
    state.zoom = k > 1 && k <= 16 && isFinite(x) && isFinite(y) ? inside({ k, x, y }) : { k: 1, x: 0, y: 0 };
  }

  function address() {
    const values = new URLSearchParams(state.query);
    if (state.pair) {
      values.set("pair", state.pair);
      if (state.mode !== "side") values.set("mode", state.mode);
      if (state.mode === "slider" && state.divide !== 50) values.set("divide", Math.round(state.divide));
      if (state.outlines) values.set("outlines", "1");
      if (state.mask) values.set("mask", "1");
      const { k, x, y } = state.zoom;
      if (k > 1) values.set("zoom", `${k.toFixed(2)},${x.toFixed(3)},${y.toFixed(3)}`);
      if (state.frame) values.set("frame", state.frame);
      if (state.speed !== 4) values.set("speed", state.speed);
      if (!state.loop) values.set("loop", "0");
    }
    const hidden = (state.pair ? ["boxes", "labels", "tiles"] : ["tiles"]).filter((key) => !state[key]);
    if (hidden.length) values.set("hide", hidden.join(","));
    return "#" + values;
  }

  // A place to zoom to: how many times, and which point is at the upper left, as a share of the image.
  function inside({ k, x, y }) {
    const most = 1 - 1 / k;
    return { k, x: Math.min(Math.max(x, 0), most), y: Math.min(Math.max(y, 0), most) };
  }

  function writeAddress(push = false) {
    if (address() === (location.hash || "#")) return;
    history[push ? "pushState" : "replaceState"](null, "", address());
  }

  // ---- where pairs come from
  const server = {
    async ask(path, values, signal) {
      const answer = await fetch(`api/${path}?${new URLSearchParams(values)}`, { signal });
      const found = await answer.json();
      if (!answer.ok) throw new Error([found.error, found.hint].filter(Boolean).join(" — "));
      return found;
    },
    list: (query, offset, limit, signal) => server.ask("pairs", { ...query, offset, limit }, signal),
    pair: (name, query, outlines) => server.ask("pair", { ...query, pair: name, ...(outlines ? { outlines: 1 } : {}) }),
    tileFrame: (item, k) => `thumb/${item.strip[k]}?${generation}`,
    frame: (pair, k) => `image/${pair.views[k].row}?${generation}`,
    frameThumb: (pair, k) => `thumb/${pair.views[k].row}?${generation}`,
    thumb: (item, side) => `thumb/${item.rows[side]}?${generation}`,
    image: (pair, side) => `image/${pair.rows[side]}?${generation}`,
    mask: (pair) => `mask/${pair.id}?${generation}`,
  };

  const within = { // an exported file holds its pairs itself
    select(query) {
      const set = (value) => value !== undefined && value !== "";
      const classes = set(query.class) ? classesNamed(query.class) : null;
      const inside = (value, from, to) =>
        (!set(from) || (value !== null && value >= +from)) && (!set(to) || (value !== null && value <= +to));
      const measures = data.measured.filter((name) => name !== "extra" && (set(query[`${name}_from`]) || set(query[`${name}_to`])));
      const perObject = measures.length || ["class", "freq", "size_from", "size_to", "fidelity_from", "fidelity_to"].some((k) => set(query[k]));
      const fits = (pair, view) => {
        const objects = view.objects;
        if (set(query.name) && !pair.views.some((v) => v.name.toLowerCase().includes(query.name.toLowerCase()))) return false;
        if (!inside(objects.length, query.objects_from, query.objects_to)) return false;
        if ((set(query.extra_from) || set(query.extra_to)) && !inside(view.extra?.length ?? null, query.extra_from, query.extra_to)) return false;
        return !perObject || objects.some((o) => (!classes || classes.has(o.class)) &&
          (!set(query.freq) || (o.frequency && query.freq.includes(o.frequency))) &&
          inside(Math.sqrt(o.area), query.size_from, query.size_to) && inside(o.fidelity, query.fidelity_from, query.fidelity_to) &&
          measures.every((name) => inside(o.measures[name] ?? null, query[`${name}_from`], query[`${name}_to`])));
      };
      const found = data.pairs.filter((pair) => pair.views.slice(1).some((view) => fits(pair, view)));
      const worst = (p) => {
        const name = query.sort.replace("-", ""), sign = query.sort.startsWith("-") ? -1 : 1;
        if (name === "extra") return p.views[1].extra ? sign * p.views[1].extra.length : null;
        const values = p.views.slice(1).flatMap((v) => v.objects.map((o) => o.measures[name])).filter((v) => v !== undefined);
        return values.length ? Math.min(...values.map((v) => sign * v)) : null;
      };
      const key = { shrunk: (p) => p.change, grown: (p) => p.change && -p.change, fidelity: (p) => p.fidelity,
        "-fidelity": (p) => p.fidelity === null ? null : -p.fidelity, "-objects": (p) => -p.objects }[query.sort] || (query.sort ? worst : null);
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
    thumb: (item, side) => data.images[item.views[side ? item.frame : 0].name],
    tileFrame: (item, k) => data.images[item.views[k].name],
    frame: (pair, k) => data.images[pair.views[k].name],
    frameThumb: (pair, k) => data.images[pair.views[k].name],
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
    columns = Math.max(1, Math.floor(width / (width > 2000 ? 380 : 300)));
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
      if (item && (tile.dataset.name !== item.name || tile.dataset.mark !== mark(item))) fill(tile, item, place);
      const chosen = selection !== null && place >= Math.min(selection.from, selection.to) && place <= Math.max(selection.from, selection.to);
      tile.classList.toggle("chosen", chosen);
      tile.setAttribute("aria-current", String(chosen));
    }
    if (last > first) fetchPages(Math.floor(first / PAGE), Math.floor((last - 1) / PAGE));
    $("empty").hidden = total > 0 && !problem;
    $("empty").textContent = problem || (data.total || Object.keys(state.query).length ? `No ${ONE} is like that.` : `No ${ONE} yet.`);
  }

  function fill(tile, item, place) {
    tile.dataset.name = item.name;
    tile.dataset.place = place;
    tile.dataset.mark = mark(item);
    tile.setAttribute("aria-posinset", place + 1);
    tile.setAttribute("aria-setsize", total);
    const said = VERDICTS[item.review?.verdict] || "", tags = item.review?.tags || [];
    const length = item.title === item.name ? [] : [plural(item.frames, "frame")];
    tile.setAttribute("aria-label", [item.title, ...length, plural(item.objects, "object"), said, ...tags].filter(Boolean).join(", "));
    const link = new URLSearchParams({ ...state.query, pair: item.name });
    if (frameOf(item)) link.set("frame", frameOf(item));
    tile.href = "#" + link;
    const notes = [plural(item.objects, "object")];
    if (item.change !== null) notes.push(`×${item.change.toFixed(2)}`);
    if (item.fidelity !== null) notes.push(`f ${item.fidelity.toFixed(2)}`);
    const line = el("div", { class: "line" }, el("b", {}, item.title), el("span", { title: "objects, change of their areas, lowest fidelity" }, notes.join(" · ")));
    const two = el("div", { class: "two" }, small(item, 0), small(item, 1));
    if (length.length) two.append(el("div", { class: "length" }, `▶ ${length[0]}`));
    if (said || tags.length) {
      const badge = el("div", { class: `badge ${item.review.verdict}` }, [said, ...tags].filter(Boolean).join(" · "));
      two.append(badge);
    }
    tile.replaceChildren(two, line);
  }

  const frameOf = (item) => item.title !== item.name && OF_FRAMES.some((key) => state.query[key]) ? item.frame : 0;
  const VERDICTS = { keep: "kept", reject: "rejected" };
  const mark = (item) => item.review ? `${item.review.verdict}/${item.review.revision}/${item.review.tags.join(",")}` : "";

  function small(item, side) {
    const image = el("img", { src: source.thumb(item, side), alt: "", decoding: "async", draggable: "false" });
    image.onerror = () => image.classList.add("failed");
    const [width, height] = item.sizes[side];
    const boxes = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const [place, x, y, w, h] of item.boxes[side]) {
      const box = svg("rect", { x, y, width: Math.max(w, 1), height: Math.max(h, 1) });
      box.style.stroke = colour(place, item.count);
      boxes.append(box);
    }
    return el("div", { class: "small" }, image, boxes);
  }

  function svg(name, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
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
    const parts = [filtered ? `${plural(total, ONE)} of ${data.total.toLocaleString("en")}` : plural(total, ONE)];
    if (data.state?.unfinished) {
      parts.push(`${data.state.done.toLocaleString("en")} of ${data.state.planned.toLocaleString("en")} images done`);
    }
    $("state").textContent = parts.join(" · ");
  }

  function restart() {
    forget();
    selection = null;
    drawReview();
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
  // As the server compares names: letter case counts no more than the difference between spaces and underscores.
  const plain = (name) => name.replaceAll("_", " ").toLowerCase().split(/\s+/).filter(Boolean).join(" ");
  function classesNamed(text) {
    const found = new Set();
    for (const part of text.split("|").map(plain)) {
      const exact = data.classes.filter((entry) => plain(entry.name) === part);
      for (const entry of exact.length ? exact : data.classes.filter((e) => plain(e.name).includes(part))) found.add(entry.name);
    }
    return found;
  }
  const OTHERS = QUERY.filter((key) => !form.elements[key]);

  function readForm() {
    const query = {};
    for (const [key, value] of new FormData(form)) {
      if (key === "freq") query.freq = (query.freq || "") + value;
      else if (value.trim()) query[key] = value.trim();
    }
    for (const key of OTHERS) if (state.query[key]) query[key] = state.query[key];
    return query;
  }

  function writeForm() {
    for (const field of form.elements) {
      if (!field.name) continue;
      const value = state.query[field.name] || "";
      if (field.type === "checkbox") field.checked = value.includes(field.value);
      else field.value = value;
    }
    drawFilters();
  }

  // How many of the scores are filtered by, and what the statistics page asked for and the form has no field for.
  function drawFilters() {
    const within = $("scores")?.querySelectorAll("fieldset") || [];
    const used = [...within].filter((range) => [...range.querySelectorAll("input")].some((field) => field.value)).length;
    if ($("scores")) $("scores").firstElementChild.textContent = used ? `Scores (${used})` : "Scores";
    const words = { ...Object.fromEntries(QUERY.map((key) => [key.split("_")[0], key.split("_")[0]])), motion: "motion", first: "original's object size", scale: "scale", rotation: "rotation", freq: "frequency" };
    const chips = [];
    for (const [key, word] of Object.entries(words)) {
      const keys = OTHERS.filter((other) => other.split("_")[0] === key && state.query[other]);
      if (!keys.length) continue;
      const value = keys.length === 1 && !keys[0].includes("_") ? state.query[keys[0]]
        : `${state.query[`${key}_from`] || ""} to ${state.query[`${key}_to`] || ""}`.trim();
      const chip = el("button", { type: "button", class: "chip", "aria-label": `Remove: ${word} ${value}` }, `${word}: ${value} ✕`);
      chip.onclick = () => {
        for (const other of keys) delete state.query[other];
        writeAddress();
        writeForm();
        restart();
      };
      chips.push(chip);
    }
    $("chips").replaceChildren(...chips);
  }

  let later;
  function queryChanged(delay) {
    clearTimeout(later);
    later = setTimeout(() => {
      const query = readForm();
      if (JSON.stringify(query) === sameQuery()) return;
      state.query = query;
      writeAddress();
      drawFilters();
      restart();
    }, delay);
  }

  form.addEventListener("input", () => queryChanged(200));
  form.addEventListener("submit", (event) => { event.preventDefault(); queryChanged(0); });
  form.addEventListener("reset", () => {
    for (const key of OTHERS) delete state.query[key];
    state.query.name ??= ""; // so that the form is seen to differ
    drawFilters();
    queryChanged(0);
  });
  $("scores")?.addEventListener("focusout", (event) => { // a menu closes when one goes on
    if (event.relatedTarget && !$("scores").contains(event.relatedTarget)) $("scores").open = false;
  });
  for (const entry of data.classes) {
    $("classes").append(el("option", { value: entry.name, label: `${entry.name} (${entry.objects.toLocaleString("en")})` }));
  }

  // ---- one pair large
  let shown = null, turn = 0;
  // Colours by the place within the pair: as far apart as there are objects, neighbours far from each other.
  function colour(place, count) {
    let stride = Math.max(1, Math.round(count * 0.382));
    const common = (a, b) => b ? common(b, a % b) : a;
    while (common(stride, count) !== 1) stride++;
    const lightness = count > 9 && place % 2 ? 0.68 : 0.83;
    return `oklch(${lightness} 0.17 ${(25 + 360 * ((place * stride) % Math.max(count, 1)) / Math.max(count, 1)) % 360})`;
  }
  // Objects are numbered as they stand in the original, then those that are in the second view alone.
  const numbered = (pair) => pair.tracks ??= [...new Set(pair.views.flatMap((view) => view.objects.map((object) => object.track)))];

  async function showPair() {
    const mine = ++turn;
    if (!state.pair) {
      shown = null;
      player.close();
      if (dialog.open) dialog.close();
      document.title = `${data.name} · ovforge`;
      return;
    }
    if (!dialog.open) dialog.showModal();
    let pair;
    try {
      pair = await source.pair(state.pair, ask(state.query), state.outlines);
      pair.outlined = state.outlines || data.file || !pair.clip;
    } catch (error) {
      if (mine !== turn) return;
      shown = null;
      player.close();
      $("pair-name").textContent = state.pair;
      $("pair-place").textContent = "";
      for (const side of [0, 1]) $(`view-${side}`).firstElementChild.replaceChildren();
      $("facts").replaceChildren(el("p", { role: "alert" }, error.message));
      return;
    }
    if (mine !== turn) return;
    shown = pair;
    if (pair.place !== null) active = pair.place;
    document.title = `${pair.title} · ${data.name}`;
    $("pair-name").textContent = pair.title;
    $("pair-place").textContent = pair.place === null ? "not in this filter" : `${(pair.place + 1).toLocaleString("en")} of ${pair.among.toLocaleString("en")}`;
    $("previous").disabled = pair.place === null || pair.place === 0;
    $("next").disabled = pair.place === null || pair.place >= pair.among - 1;
    spots.clear();
    if (pair.clip) drawClip(pair);
    else {
      player.close();
      for (const side of [0, 1]) drawView(pair, side);
      drawFacts(pair);
    }
    drawMode();
    if (pair.clip) player.draw();
    drawReview();
  }

  function drawView(pair, side) {
    const holder = $(`view-${side}`).firstElementChild, view = pair.views[side];
    holder.classList.remove("failed");
    const what = side ? "Second view" : "Original";
    const image = el("img", { src: source.image(pair, side), alt: `${what}, ${view.name}`, draggable: "false" });
    image.onerror = () => { image.remove(); holder.classList.add("failed"); };
    const { outlines, boxes, labels } = marks(pair, view);
    const corner = el("div", { class: "corner" }, side ? "Second view" : "Original");
    holder.replaceChildren(el("div", { class: "zoom" }, image, outlines, ...boxes), ...labels, corner);
  }

  // What is drawn over one image: outlines, boxes and labels of its objects, the same colours in all of a pair or clip.
  function marks(pair, view) {
    const tracks = numbered(pair), labels = [];
    const outlines = svg("svg", { class: "outlines", viewBox: `0 0 ${view.width} ${view.height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const boxes = view.objects.map((object) => {
      const [x, y, w, h] = object.box;
      const place = tracks.indexOf(object.track);
      const box = el("div", { class: object.occluded ? "box occluded" : "box", "data-track": object.track });
      const label = el("div", { class: "label", "data-track": object.track }, el("b", {}, String(place + 1)), el("span", {}, ` ${object.class}`));
      label.style.setProperty("--c", colour(place, tracks.length));
      label.box = [x / view.width, y / view.height, w / view.width, h / view.height];
      labels.push(label);
      for (const points of object.outline || []) {
        const shape = svg("polygon", { points: points.join(" "), "data-track": object.track });
        shape.style.stroke = colour(place, tracks.length);
        outlines.append(shape);
      }
      placeBox(box, object.box, view);
      box.style.setProperty("--c", colour(place, tracks.length));
      return box;
    });
    for (const one of view.extra || []) {
      const box = el("div", { class: "box extra", title: `found besides: ${one.class}` }), [x, y, w, h] = one.box;
      placeBox(box, one.box, view);
      const label = el("div", { class: "label extra" }, el("b", {}, "?"), el("span", {}, ` ${one.class} ${one.score.toFixed(2)}`));
      label.box = [x / view.width, y / view.height, w / view.width, h / view.height];
      labels.push(label);
      boxes.push(box);
    }
    // Small ones last, so that a large one does not cover their labels.
    boxes.sort((a, b) => parseFloat(b.style.width) * parseFloat(b.style.height) - parseFloat(a.style.width) * parseFloat(a.style.height));
    labels.sort((a, b) => a.box[2] * a.box[3] - b.box[2] * b.box[3]);
    return { outlines, boxes, labels };
  }

  function placeBox(box, [x, y, w, h], view) {
    box.style.left = 100 * x / view.width + "%";
    box.style.top = 100 * y / view.height + "%";
    box.style.width = 100 * w / view.width + "%";
    box.style.height = 100 * h / view.height + "%";
  }

  // ---- a clip
  const player = clipPlayer({
    el,
    address: (clip, k) => source.frame(clip, k),
    thumb: (clip, k) => source.frameThumb(clip, k),
    changed: (k, failed) => drawFrame(k, failed),
    settled: () => {
      if (!shown?.clip) return;
      Object.assign(state, { frame: player.at, speed: player.speed, loop: player.loop });
      writeAddress();
    },
  });

  function drawClip(pair) {
    $("view-0").firstElementChild.replaceChildren();
    player.configure(state);
    $("view-1").firstElementChild.replaceChildren(el("div", { class: "zoom" }, ...player.open(pair, state.frame)));
    state.frame = player.at;
    drawClipFacts(pair);
  }

  // Boxes follow by their tracks: the same number and colour in every frame.
  function drawFrame(k, failed) {
    if (!shown?.clip) return;
    state.frame = k;
    const holder = $("view-1").firstElementChild, view = shown.views[k];
    holder.classList.toggle("failed", Boolean(failed));
    for (const old of holder.querySelectorAll(".box, .label, .outlines")) old.remove();
    const { outlines, boxes, labels } = marks(shown, view);
    holder.firstElementChild.append(outlines, ...boxes);
    holder.append(...labels);
    point(pointed);
    placeLabels(holder);
    tellFrame(view);
  }

  // Outlines of a clip are asked for when they are first to be drawn.
  async function fetchOutlines() {
    const clip = shown;
    if (!clip?.clip || clip.outlined || !state.outlines) return;
    clip.outlined = true;
    try {
      const full = await source.pair(clip.name, ask(state.query), true);
      full.views.forEach((view, k) => { if (clip.views[k]) clip.views[k].objects = view.objects; });
    } catch (error) {
      clip.outlined = false;
      say(error.message);
      return;
    }
    if (shown === clip) drawFrame(player.at);
  }

  let cells = new Map();
  function drawClipFacts(clip) {
    const tracks = numbered(clip), first = new Map();
    for (const view of clip.views) for (const object of view.objects) if (!first.has(object.track)) first.set(object.track, object);
    cells = new Map();
    const rows = tracks.map((track, place) => {
      const area = el("td", { class: "n" }), seen = el("td", { class: "n" });
      const row = objectRow(track, place, tracks.length, first.get(track), area, seen);
      cells.set(track, { row, area, seen });
      return row;
    });
    const text = clip.clip.preset ? `${clip.clip.preset}, frames ${plural(clip.clip.gap || 1, "video frame")} apart` : "";
    $("facts").replaceChildren(
      ...fact("Frame", el("p", { id: "frame-fact" })),
      ...fact(plural(rows.length, "object"), rows.length ? objectTable(["class", "area", "visible"], rows) : el("p", { class: "note" }, "none")),
      ...(text ? fact("Motion", el("p", {}, text)) : []),
      ...fact("Camera", el("p", { id: "camera-fact" })),
      ...(clip.caption ? fact("Prompt", el("p", {}, clip.caption)) : []),
      ...fact("Seed", el("p", {}, clip.seed === null ? "not noted" : String(clip.seed))),
      ...engineFact(clip),
      ...fact("Image id", el("p", { id: "id-fact" })));
  }

  // The table says of every object what it is in the frame that is seen.
  function tellFrame(view) {
    const now = new Map(view.objects.map((object) => [object.track, object]));
    const before = new Map(shown.views[0].objects.map((object) => [object.track, object]));
    for (const [track, { row, area, seen }] of cells) {
      const object = now.get(track), start = before.get(track);
      row.classList.toggle("away", !object);
      area.textContent = object && start?.area ? `×${(object.area / start.area).toFixed(2)}` : "";
      area.title = object ? `${object.area} square pixels` : "";
      const share = object ? object.measures.visibility ?? (view === shown.views[0] ? 1 : null) : null;
      seen.textContent = !object ? (view.unseen || {})[track] || "out of sight"
        : [share === null ? "" : `${Math.round(100 * share)} %`, object.occluded ? "occluded" : ""].filter(Boolean).join(", ");
    }
    $("frame-fact").textContent = view.name;
    $("camera-fact").textContent = view === shown.views[0] ? "the image itself" : (view.motion || "not noted").replace(/^camera, /, "");
    $("id-fact").textContent = view.image_id;
  }

  // Labels stand where they cover no other: at a corner of their box, else with the number alone, else not at all.
  function placeLabels(holder) {
    const width = holder.clientWidth, height = holder.clientHeight, { k, x: left, y: top } = state.zoom;
    const taken = [], labels = [...holder.querySelectorAll(".label")];
    const clip = Boolean(shown?.clip);
    for (const label of labels) { label.classList.remove("short"); label.hidden = false; }
    const sizes = labels.map((label) => [label.offsetWidth, label.offsetHeight, label.firstChild.offsetWidth + 8]);
    labels.forEach((label, index) => {
      const [bx, by, bw, bh] = label.box;
      const x0 = (bx - left) * k * width, y0 = (by - top) * k * height, x1 = x0 + bw * k * width, y1 = y0 + bh * k * height;
      // While a clip plays, a label stays at the corner where it was as long as there is room.
      const usual = clip ? spots.get(label.dataset.track) : undefined;
      const find = (w, h) => [[x0, y0 - h], [x0, y0], [x1 - w, y0], [x0, y1 - h], [x1 - w, y1 - h], [x0, y1], [x1 - w, y0 - h],
        [x1, y0], [x0 - w, y0], [(x0 + x1 - w) / 2, (y0 + y1 - h) / 2]]
        .map((spot, number) => [...spot, number]).sort((a, b) => (b[2] === usual) - (a[2] === usual))
        .find(([x, y]) => x >= -1 && y >= -1 && x + w <= width + 1 && y + h <= height + 1 &&
          taken.every(([tx, ty, tw, th]) => x >= tx + tw || tx >= x + w || y >= ty + th || ty >= y + h));
      const [w, h, short] = sizes[index];
      let found = x1 < 0 || y1 < 0 || x0 > width || y0 > height ? null : find(w, h), used = w;
      if (!found && found !== null && (found = find(short, h))) { label.classList.add("short"); used = short; }
      if (!found) { label.hidden = true; return; }
      taken.push([found[0], found[1], used, h]);
      spots.set(label.dataset.track, found[2]);
      label.style.transform = `translate(${Math.max(0, found[0])}px, ${Math.max(0, found[1])}px)`;
    });
  }

  const spots = new Map();
  const fact = (title, ...content) => [el("h3", {}, title), ...content];

  function engineFact(pair) {
    const engine = Object.entries(pair.engine || {}).map(([key, value]) => `${key}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join("\n");
    return engine ? fact("Engine", el("pre", {}, engine)) : [];
  }

  function objectTable(columns, rows) {
    const heads = columns.map((text, k) => el("th", { scope: "col", ...(k ? { class: "n" } : {}) }, text));
    return el("table", { class: "objects" }, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
  }

  function objectRow(track, place, count, object, ...more) {
    const number = el("button", { type: "button", class: "number", "aria-label": `Object ${place + 1}, ${object.class}: show` }, String(place + 1));
    number.style.setProperty("--c", colour(place, count));
    number.onfocus = () => point(track);
    number.onblur = () => point(null);
    const row = el("tr", {},
      el("td", { title: `track ${track}` }, number, object.class, object.frequency ? el("span", { class: "note" }, ` ${FREQUENCIES[object.frequency] || object.frequency}`) : ""),
      ...more);
    row.onpointerenter = () => point(track);
    row.onpointerleave = () => point(null);
    return row;
  }

  function drawFacts(pair) {
    const facts = $("facts");
    const [before, after] = pair.views.map((view) => new Map(view.objects.map((object) => [object.track, object])));
    const tracks = numbered(pair);
    const rows = tracks.flatMap((track, place) => {
      const a = before.get(track), b = after.get(track), object = b || a;
      const change = a && b && a.area ? `×${(b.area / a.area).toFixed(2)}` : b ? "" : "left";
      const row = objectRow(track, place, tracks.length, object,
        el("td", { class: "n", title: a && b ? `${a.area} to ${b.area} square pixels` : "" }, change),
        el("td", { class: "n" }, b && b.fidelity !== null ? b.fidelity.toFixed(3) : ""));
      const measures = Object.entries(b?.measures || {});
      if (!measures.length) return [row];
      const list = el("dl", { class: "measures" }, ...measures.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value.toFixed(2)))));
      return [row, el("tr", { class: "more" }, el("td", { colspan: 3 }, list))];
    });
    const table = objectTable(["class", "area", "fidelity"], rows);
    const found = pair.views[1].extra || [];
    facts.replaceChildren(
      ...(pair.caption ? fact("Prompt", el("p", {}, pair.caption)) : []),
      ...fact("Motion", el("p", {}, pair.motion || "not noted"),
        ...(pair.matrix ? [el("details", {}, el("summary", {}, "matrix"), el("pre", {}, pair.matrix.map((row) => row.map((n) => n.toPrecision(5).padStart(11)).join("")).join("\n")))] : [])),
      ...fact("Seed", el("p", {}, pair.seed === null ? "not noted" : String(pair.seed))),
      ...engineFact(pair),
      ...fact(plural(tracks.length, "object"), tracks.length ? table : el("p", { class: "note" }, "none")),
      ...(found.length ? fact("Found besides", ...found.map((one) => el("p", {}, `${one.class}, score ${one.score.toFixed(2)}`))) : []),
      ...fact("Image ids", el("p", {}, pair.views.map((view) => view.image_id).join(" and "))));
  }

  let pointed = null;
  function point(track) {
    pointed = track;
    const stage = $("stage");
    stage.classList.toggle("faded", track !== null);
    for (const box of stage.querySelectorAll(".box, .label, polygon")) box.classList.toggle("strong", box.dataset.track === String(track));
  }

  function drawMode() {
    const stage = $("stage"), views = [0, 1].map((side) => $(`view-${side}`)), clip = Boolean(shown?.clip);
    stage.dataset.mode = clip ? "clip" : state.mode;
    $("modes").hidden = clip;
    $("player").hidden = $("strip").hidden = !clip;
    document.querySelector(`input[name=mode][value=${state.mode}]`).checked = true;
    $("boxes").checked = state.boxes;
    $("labels").checked = state.labels;
    stage.classList.toggle("no-boxes", !state.boxes);
    stage.classList.toggle("no-labels", !state.labels);
    $("divide-label").style.display = state.mode === "slider" && !clip ? "flex" : "none";
    stage.classList.toggle("with-outlines", state.outlines);
    const outlines = $("outlines"), drawn = Boolean(shown?.masks);
    outlines.checked = state.outlines && drawn;
    outlines.parentElement.hidden = !drawn;
    const mask = $("mask"), has = Boolean(shown?.mask);
    mask.checked = state.mask && has;
    mask.parentElement.hidden = !has;
    $("legend").hidden = !mask.checked;
    // Only an engine that paints has repainted anything: the others leave what they were given.
    $("legend-text").textContent = { fill: "completed background", warp: "the original around the moved image" }[shown?.engine?.engine] ?? "repainted";
    const second = views[1].firstElementChild;
    let shade = second.querySelector(".shade");
    if (mask.checked && !shade) second.querySelector("img")?.after(shade = el("img", { class: "shade", alt: "", src: source.mask(shown) }));
    else if (!mask.checked) shade?.remove();
    fit();
    drawDivide();
    fetchOutlines();
  }

  // Images as large as their place allows, proportions kept, small ones at most doubled, on a large screen tripled.
  function fit() {
    if (!shown) return;
    const most = $("stage").clientWidth > 1600 ? 3 : 2;
    const stage = $("stage"), narrow = matchMedia("(max-width: 899px)").matches, side = state.mode === "side" && !shown.clip;
    const whole = [stage.clientWidth, narrow ? innerHeight * 0.6 : stage.clientHeight - (side ? 26 : 0)];
    const row = [(stage.clientWidth - 10) / 2, whole[1]], column = [stage.clientWidth, (stage.clientHeight - 62) / 2];
    const scaled = ([w, h]) => Math.min(w / shown.views[1].width, h / shown.views[1].height);
    // Wide images stand one above the other where they are larger so.
    const stacked = side && !narrow && scaled(column) > 1.15 * scaled(row) && scaled(row) < most;
    const [wide, high] = !side || narrow ? whole : stacked ? column : row;
    stage.dataset.layout = stacked ? "stack" : "row";
    for (const index of [0, 1]) {
      const view = shown.views[index], holder = $(`view-${index}`).firstElementChild;
      const scale = Math.min(wide / view.width, high / view.height, most);
      holder.style.width = Math.floor(view.width * scale) + "px";
      holder.style.height = Math.floor(view.height * scale) + "px";
    }
    drawZoom();
  }

  function drawZoom() {
    if (!shown) return;
    const { k, x, y } = state.zoom;
    for (const index of [0, 1]) {
      const holder = $(`view-${index}`).firstElementChild, zoom = holder.firstElementChild;
      if (!zoom) continue;
      zoom.style.setProperty("--k", k);
      zoom.style.transform = k > 1 ? `scale(${k}) translate(${-100 * x}%, ${-100 * y}%)` : "";
      placeLabels(holder);
    }
    $("stage").classList.toggle("zoomed", k > 1);
    $("zoom-out").disabled = $("zoom-reset").disabled = k <= 1;
    $("zoom-reset").textContent = `${Math.round(100 * k)} %`;
  }

  // Zooms both views about one point, a share of the image's width and height as it is seen.
  function zoomBy(factor, u = 0.5, v = 0.5) {
    const { k, x, y } = state.zoom, to = Math.min(16, Math.max(1, k * factor));
    state.zoom = inside({ k: to, x: x + u / k - u / to, y: y + v / k - v / to });
    drawZoom();
    writeAddress();
  }

  function panBy(u, v) {
    const { k, x, y } = state.zoom;
    state.zoom = inside({ k, x: x + u / k, y: y + v / k });
    drawZoom();
    writeAddress();
  }

  function drawDivide() {
    const top = $("view-1").firstElementChild, slider = state.mode === "slider" && !shown?.clip;
    let handle = top.querySelector(".handle");
    const divide = state.divide;
    $("divide").value = divide;
    $("divide").setAttribute("aria-valuetext", `${Math.round(divide)} per cent original, the rest second view`);
    $("divide-text").textContent = `Original ${Math.round(divide)} % · second view ${Math.round(100 - divide)} %`;
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
    state.frame = frameOf(item);
    writeAddress();
    showPair();
  }

  function flip() {
    if (state.mode === "side") { set({ mode: "slider", divide: 0 }); return; }
    set({ divide: state.divide > 50 ? 0 : 100 });
  }

  function closePair() {
    if (!state.pair) return;
    state.pair = null;
    state.frame = 0;
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
  $("outlines").onchange = (event) => set({ outlines: event.target.checked });
  $("divide").oninput = (event) => { state.divide = +event.target.value; drawDivide(); writeAddress(); };
  $("zoom-in").onclick = () => zoomBy(1.5);
  $("zoom-out").onclick = () => zoomBy(1 / 1.5);
  $("zoom-reset").onclick = () => zoomBy(0);
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); closePair(); });
  const dragged = (event) => {
    const place = $("view-1").firstElementChild.getBoundingClientRect();
    state.divide = Math.min(100, Math.max(0, 100 * (event.clientX - place.left) / place.width));
    drawDivide();
  };
  let grabbed = null;
  const sliding = () => state.mode === "slider" && !shown?.clip;
  $("stage").addEventListener("pointerdown", (event) => {
    if (event.button || (!sliding() && state.zoom.k <= 1)) return;
    $("stage").setPointerCapture(event.pointerId);
    const holder = event.target.closest?.(".image") || $("view-0").firstElementChild;
    grabbed = { x: event.clientX, y: event.clientY, width: holder.clientWidth, height: holder.clientHeight };
    if (sliding()) dragged(event);
  });
  $("stage").addEventListener("pointermove", (event) => {
    if (!grabbed || !$("stage").hasPointerCapture(event.pointerId)) return;
    if (sliding()) { dragged(event); return; }
    panBy((grabbed.x - event.clientX) / grabbed.width, (grabbed.y - event.clientY) / grabbed.height);
    grabbed.x = event.clientX;
    grabbed.y = event.clientY;
  });
  $("stage").addEventListener("pointerup", () => { grabbed = null; writeAddress(); });
  $("stage").addEventListener("wheel", (event) => {
    const holder = event.target.closest?.(".image");
    if (!holder || !shown || (matchMedia("(max-width: 899px)").matches && !event.ctrlKey)) return;
    event.preventDefault();
    const place = holder.getBoundingClientRect();
    zoomBy(Math.exp(-event.deltaY * 0.002), (event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height);
  }, { passive: false });

  // ---- review: keep, reject, tag, undo
  const FREQUENCIES = { r: "rare", c: "common", f: "frequent" };
  const may = Boolean(data.review?.writable);
  const undone = []; // what can be undone, latest last
  let reviewed = data.review, selection = null, queue = Promise.resolve(), quiet;

  function say(text) {
    for (const id of ["said", "pair-said"]) $(id).textContent = text;
    clearTimeout(quiet);
    quiet = setTimeout(() => { for (const id of ["said", "pair-said"]) $(id).textContent = ""; }, 5000);
  }

  function write(body) {
    queue = queue.then(async () => {
      const answer = await fetch("api/review", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Ovforge-Token": data.review.token },
        body: JSON.stringify(body),
      });
      const text = await answer.text();
      let found;
      try { found = JSON.parse(text); } catch { throw new Error(text.trim()); }
      if (!answer.ok) throw new Error([found.error, found.hint].filter(Boolean).join(" — "));
      took(found);
      return found;
    }).catch((error) => { say(`Not saved: ${error.message}`); return null; });
    return queue;
  }

  function took(found) {
    reviewed = { ...reviewed, ...found };
    const now = new Map([...found.changed.map((one) => [one.name, one.after]), ...found.refused.map((one) => [one.name, one])]);
    for (const items of pages.values()) for (const item of items) if (now.has(item.name)) item.review = now.get(item.name);
    const leaves = (state.query.verdict || state.query.tag) && found.changed.length;
    if (shown && now.has(shown.name)) shown.review = now.get(shown.name);
    if (leaves) {
      const at = shown?.place ?? null;
      forget();
      selection = null;
      if (at !== null) openNext(at);
    }
    drawReview();
    draw();
  }

  // In a filter of the review a pair leaves the list when it is judged: the one that takes its place is shown.
  async function openNext(place) {
    const found = await source.list(ask(state.query), place ? place - 1 : 0, 2);
    const item = place ? found.items[1] || found.items[0] : found.items[0];
    state.pair = item ? item.name : null;
    state.frame = item ? frameOf(item) : 0;
    writeAddress();
    showPair();
  }

  const targets = () => selection ? Math.abs(selection.to - selection.from) + 1 : 1;
  const current = () => dialog.open ? shown : known(active);

  function requestOf(change) {
    if (!dialog.open && selection) return { query: state.query, first: selection.from, last: selection.to, ...change };
    const item = current();
    return item ? { changes: [{ name: item.name, ...change }] } : null;
  }

  async function judge(change, word) {
    if (!may) { say(data.review ? "This page is read-only." : "An exported file cannot be changed."); return; }
    const body = requestOf(change);
    if (!body) return;
    const count = dialog.open ? 1 : targets();
    const found = await write(body);
    if (!found) return;
    if (found.changed.length) undone.push(found.changed);
    say(found.changed.length ? `${plural(found.changed.length, ONE)} ${word}` : `${plural(count, ONE)}: nothing to change`);
    drawReview();
  }

  function verdict(value) {
    const item = current(), alone = dialog.open || !selection;
    const again = alone && item?.review?.verdict === value;
    return judge({ verdict: again ? "" : value }, again ? "no longer " + VERDICTS[value] : VERDICTS[value]);
  }

  async function undo() {
    if (!may) return;
    const last = undone.pop();
    if (!last) { say("Nothing to undo."); return; }
    const found = await write({ changes: last.map(({ name, before, after }) => ({
      name, verdict: before.verdict, expect: after.revision,
      add_tags: before.tags.filter((tag) => !after.tags.includes(tag)),
      remove_tags: after.tags.filter((tag) => !before.tags.includes(tag)),
    })) });
    if (!found) { undone.push(last); return; }
    // What was before is there again under a new revision: changes before this one are undone from that.
    const restored = new Map(found.changed.map((one) => [one.name, one.after.revision]));
    for (const { name, before } of last) {
      for (const earlier of undone.flat()) {
        if (earlier.name === name && earlier.after.revision === before.revision && restored.has(name)) earlier.after.revision = restored.get(name);
      }
    }
    const others = found.refused.length ? `; ${plural(found.refused.length, ONE)} changed elsewhere since, left as they are` : "";
    say(`${plural(found.changed.length, ONE)} undone${others}`);
    drawReview();
  }

  function openTags() {
    if (!may) { judge({}); return; }
    const item = current();
    if (!item) return;
    const alone = dialog.open || !selection;
    $("tags-what").textContent = alone ? item.title : plural(targets(), ONE);
    $("tags-text").value = alone ? (item.review?.tags || []).join(", ") : "";
    $("tags-hint").textContent = alone ? "Separated by commas." : "Are added to all of them; with a minus before it, a tag is removed.";
    $("tags-known").replaceChildren(...Object.keys(reviewed.tags).map((tag) => el("option", { value: tag })));
    $("tags").showModal();
    $("tags-text").focus();
  }

  $("tags-form").addEventListener("submit", () => {
    const given = $("tags-text").value.split(",").map((tag) => tag.trim().split(/\s+/).join(" ")).filter(Boolean);
    const alone = dialog.open || !selection, before = alone ? current()?.review?.tags || [] : [];
    const add = given.filter((tag) => alone || !tag.startsWith("-")).filter((tag) => !before.includes(tag));
    const remove = alone ? before.filter((tag) => !given.includes(tag)) : given.filter((tag) => tag.startsWith("-")).map((tag) => tag.slice(1).trim());
    if (add.length || remove.length) judge({ add_tags: add, remove_tags: remove }, "tagged");
  });
  $("tags-cancel").onclick = () => $("tags").close();

  function select(from, to) {
    selection = from === to ? null : { from, to };
    drawReview();
    draw();
  }

  function drawReview() {
    if (!reviewed) return;
    const parts = [`${reviewed.kept.toLocaleString("en")} kept`, `${reviewed.rejected.toLocaleString("en")} rejected`];
    if (selection) parts.unshift(`${plural(targets(), ONE)} selected`);
    $("review-state").textContent = parts.join(" · ");
    const one = shown?.review;
    $("pair-review").textContent = one ? [VERDICTS[one.verdict], ...one.tags].filter(Boolean).join(" · ") : "";
    $("pair-review").className = `verdict ${one?.verdict || ""}`;
    for (const [id, value] of [["keep", "keep"], ["pair-keep", "keep"], ["reject", "reject"], ["pair-reject", "reject"]]) {
      const item = id.startsWith("pair-") ? shown : selection ? null : known(active);
      $(id).setAttribute("aria-pressed", String(item?.review?.verdict === value));
    }
    for (const id of ["undo", "pair-undo"]) $(id).disabled = !undone.length;
    const field = form.elements.tag, names = Object.keys(reviewed.tags);
    const wanted = [...new Set([...names, ...(state.query.tag ? [state.query.tag] : [])])];
    if (field && JSON.stringify([...field.options].slice(1).map((o) => o.value)) !== JSON.stringify(wanted)) {
      field.replaceChildren(field.options[0], ...wanted.map((tag) => el("option", { value: tag }, `${tag} (${reviewed.tags[tag] || 0})`)));
      field.value = state.query.tag || "";
    }
    for (const link of document.querySelectorAll("[data-export]")) {
      link.href = `export/${link.dataset.export}?${new URLSearchParams(state.query)}`;
    }
  }

  for (const [id, act] of Object.entries({ keep: () => verdict("keep"), reject: () => verdict("reject"), tag: openTags, undo })) {
    $(id).onclick = act;
    $(`pair-${id}`).onclick = act;
  }
  for (const group of document.querySelectorAll(".review-tools")) group.hidden = !may;
  for (const part of document.querySelectorAll(".of-review")) part.hidden = !data.review;

  // ---- keyboard
  $("help-button").onclick = () => $("help").showModal();
  addEventListener("keydown", (event) => {
    if ($("help").open || $("tags").open) return;
    const typing = event.target.closest?.("input:not([type=checkbox]):not([type=radio]):not([type=range]), select, textarea");
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing && may) { event.preventDefault(); undo(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest?.("input:not([type=checkbox]):not([type=radio]), select, textarea");
    if (field && !(field.type === "range" && !/^(Arrow|Home|End|Page)/.test(event.key))) {
      if (event.key === "Escape" && field.form === form) { field.blur(); grid.focus(); }
      return;
    }
    const control = event.target.closest?.("button, summary, input:not([type=range])");
    const keys = dialog.open ? {
      ...(shown?.clip ? {
        ArrowLeft: () => player.go(player.at - 1), ArrowRight: () => player.go(player.at + 1), " ": player.toggle,
        Home: () => player.go(0), End: () => player.go(player.count - 1),
      } : {
        ArrowLeft: () => step(-1), ArrowRight: () => step(1), " ": flip,
        m: () => shown?.mask && set({ mask: !state.mask }), s: () => set({ mode: state.mode === "side" ? "slider" : "side" }),
      }),
      PageUp: () => step(-1), PageDown: () => step(1),
      b: () => set({ boxes: !state.boxes }), l: () => set({ labels: !state.labels }),
      o: () => !$("outlines").parentElement.hidden && set({ outlines: !state.outlines }),
      "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: () => zoomBy(0),
      k: () => verdict("keep"), r: () => verdict("reject"), t: openTags, u: undo,
      "?": () => $("help").showModal(),
    } : {
      ArrowLeft: () => go(active - 1), ArrowRight: () => go(active + 1),
      ArrowUp: () => go(active - columns), ArrowDown: () => go(active + columns),
      Home: () => go(0), End: () => go(total - 1),
      PageUp: () => go(active - columns * Math.floor(grid.clientHeight / tileHeight)),
      PageDown: () => go(active + columns * Math.floor(grid.clientHeight / tileHeight)),
      k: () => verdict("keep"), r: () => verdict("reject"), t: openTags, u: undo,
      b: () => { state.tiles = !state.tiles; drawTiles(); writeAddress(); },
      Escape: () => select(active, active),
      " ": () => openPlace(active), Enter: () => openPlace(active),
      "/": () => { $("filters").open = true; $("search").focus(); $("search").select(); },
      "?": () => $("help").showModal(),
    };
    if (control && (event.key === " " || event.key === "Enter" || (control.type === "radio" && event.key.startsWith("Arrow")))) return;
    // With Shift, arrows move the end of the selection, in a zoomed pair the part that is seen.
    const shift = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] }[event.key];
    const start = selection ? selection.from : active;
    function go(place) {
      moveTo(place);
      select(event.shiftKey ? start : active, active);
    }
    const action = dialog.open && event.shiftKey && shift ? () => panBy(...shift) : keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  function drawTiles() {
    grid.classList.toggle("plain", !state.tiles);
    $("tiles").checked = state.tiles;
  }
  $("tiles").onchange = (event) => { state.tiles = event.target.checked; drawTiles(); writeAddress(); };

  function openPlace(place) {
    const item = known(place);
    if (!item) return;
    active = place;
    state.pair = item.name;
    state.frame = frameOf(item);
    writeAddress(true);
    showPair();
  }

  canvas.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile?.dataset.name || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const place = +tile.dataset.place;
    if (event.shiftKey) { // from the last one that was chosen to this one
      const from = selection ? selection.from : active;
      active = place;
      select(from, place);
      tile.focus({ preventScroll: true });
      return;
    }
    openPlace(place);
  });

  // Over a clip's tile the pointer goes through its frames; what the tile shows else is there again when it leaves.
  canvas.addEventListener("pointermove", (event) => {
    const tile = event.target.closest(".tile"), item = tile?.dataset.name ? known(+tile.dataset.place) : null;
    if (!item?.strip.length || event.pointerType === "touch") return;
    const place = tile.getBoundingClientRect(), share = (event.clientX - place.left) / place.width;
    const k = Math.min(item.frames - 1, Math.max(0, Math.floor(share * item.frames)));
    if (tile.dataset.frame === String(k)) return;
    tile.dataset.frame = k;
    tile.querySelectorAll(".small img")[1].src = source.tileFrame(item, k);
    tile.querySelector(".length").textContent = `frame ${k} / ${item.frames - 1}`;
  });
  canvas.addEventListener("pointerout", (event) => {
    const tile = event.target.closest(".tile");
    if (tile?.dataset.frame === undefined || tile.contains(event.relatedTarget)) return;
    delete tile.dataset.frame;
    const item = known(+tile.dataset.place);
    if (item) fill(tile, item, +tile.dataset.place);
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
    drawTiles();
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
  drawTiles();
  drawReview();
  draw();
  showPair();

  // ---- a run that is going on grows under our eyes
  if (!data.file && (data.state?.unfinished || data.review)) {
    const look = async () => {
      if (!document.hidden) {
        try {
          const now = await source.ask("state", {});
          const grown = now.total !== data.total;
          data.state = now;
          data.total = now.total;
          const other = data.review && now.review.revision !== reviewed.revision;
          if (other) { // another page has written
            reviewed = { ...reviewed, ...now.review };
            if (shown) source.pair(shown.name, ask(state.query)).then((pair) => { if (shown?.name === pair.name) { shown.review = pair.review; drawReview(); } }, () => {});
            drawReview();
          }
          if (grown || other) {
            pages.clear(); // what is in sight is asked for again; tiles stay until it comes
            draw();
          }
          showState();
        } catch { /* the next look may find it again */ }
      }
      setTimeout(look, 4000);
    };
    setTimeout(look, 4000);
  }
})();
