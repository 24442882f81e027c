// The classes of an exemplar file, the exemplars of one class, one exemplar large, and what `exemplars check` found.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const list = $("list"), main = $("crops"), dialog = $("exemplar"), keys = Object.keys(data.sources);
  const WORDS = { r: "rare", c: "common", f: "frequent" };
  const number = (value) => value.toLocaleString("en");
  const percent = (share) => `${Math.round(share * 100)} %`;
  const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
  const el = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== false) node.setAttribute(key, value);
    node.append(...children.filter((child) => child !== null && child !== false && child !== ""));
    return node;
  };
  const svg = (name, attributes, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  async function ask(path, values = {}) {
    const answer = await fetch(`api/${path}?${new URLSearchParams(values)}`);
    const found = await answer.json();
    if (!answer.ok) throw new Error([found.error, found.hint].filter(Boolean).join(" — "));
    return found;
  }

  // ---- the address: class, source, open, whole, box; check; q, which, freq, sort
  const ORDER = ["class", "source", "check", "open", "whole", "box", "q", "which", "freq", "sort"];
  let state = {};
  const address = (changes = {}) => {
    const all = { ...state, ...changes };
    return "#" + ORDER.filter((key) => all[key]).map((key) => `${key}=${encodeURIComponent(all[key]).replaceAll("%20", "+")}`).join("&");
  };
  function go(changes, push = false) {
    const to = address(changes);
    if (to === (location.hash || "#")) return;
    history[push ? "pushState" : "replaceState"](push ? { pushed: true } : history.state, "", to);
    apply();
  }

  // ---- classes, found by their names in any case, with spaces or underscores
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/[_\s-]+/g, " ").trim();
  const words = data.classes.map((entry) => [entry.name, ...entry.synonyms, entry.synset].map(plain));
  const names = new Map(), unclear = new Set();
  data.classes.forEach((entry, place) => { names.has(entry.name) ? unclear.add(entry.name) : names.set(entry.name, place); });
  const named = (entry) => unclear.has(entry.name) ? entry.synset : entry.name;
  function find(text) {
    const synset = data.classes.findIndex((entry) => entry.synset === text);
    if (names.has(text) && !(unclear.has(text) && synset >= 0)) return names.get(text);
    return synset >= 0 ? synset : words.findIndex((all) => all.includes(plain(text)));
  }
  const classLink = (name, ...children) => {
    const place = find(name);
    if (place < 0) return el("span", {}, ...(children.length ? children : [name]));
    return el("a", { href: address({ class: named(data.classes[place]), source: "", check: "", open: "", whole: "", box: "" }) }, ...(children.length ? children : [name]));
  };

  // ---- the list
  const largest = Math.max(1, ...data.classes.map((entry) => entry.total));
  const bySource = (entry) => keys.map((key, index) => entry.counts[index] && `${data.sources[key]} ${number(entry.counts[index])}`).filter(Boolean);
  const links = data.classes.map((entry, place) => {
    const bar = svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" });
    // A few classes have hundreds: the bars grow with the square root.
    const length = 100 * Math.sqrt(entry.total / largest);
    let x = 0;
    entry.counts.forEach((count, index) => {
      const width = entry.total ? length * count / entry.total : 0;
      bar.append(svg("rect", { x, width, height: 8, class: `s-${keys[index]}` }));
      x += width;
    });
    const count = entry.distinct === entry.total ? String(entry.total) : `${entry.distinct}/${entry.total}`;
    const flags = entry.flagged + (entry.nearer ? 1 : 0);
    const link = el("a", { title: [entry.synset, ...bySource(entry)].join(" · ") },
      el("span", {}, entry.name, flags > 0 && el("span", { class: "flag", title: plural(flags, "finding") }, el("span", { class: "hidden" }, "flagged: "), String(flags))),
      bar, el("span", { class: "n" }, count));
    if (entry.short) link.classList.add("short");
    const item = el("li", {}, link);
    item.dataset.place = place;
    return item;
  });
  let shown = [];

  function draw() {
    const asked = (state.q ?? "").split("|").map(plain).filter(Boolean);
    const matches = (place) => !asked.length || asked.some((text) => words[place].some((word) => word.includes(text)));
    shown = data.classes.map((_, place) => place).filter((place) => {
      const entry = data.classes[place];
      if (state.which === "short" && !entry.short) return false;
      if (state.which === "flagged" && !entry.flagged && !entry.nearer) return false;
      return (!state.freq || (entry.frequency && state.freq.includes(entry.frequency))) && matches(place);
    });
    const key = {
      most: (entry) => -entry.distinct, few: (entry) => entry.distinct, name: (entry) => plain(entry.name),
      flagged: (entry) => -entry.flagged, accuracy: (entry) => entry.accuracy ?? Infinity,
    }[state.sort];
    if (key) {
      const value = data.classes.map(key);
      shown.sort((a, b) => value[a] < value[b] ? -1 : value[a] > value[b] ? 1 : a - b);
    }
    for (const place of shown) links[place].firstChild.href = address({ class: named(data.classes[place]), source: "", check: "", open: "", whole: "", box: "" });
    list.replaceChildren(...shown.map((place) => links[place]));
    if (!shown.length) list.append(el("li", { class: "message note" }, "No class is like that."));
    const narrowed = shown.length !== data.classes.length;
    $("matching").textContent = narrowed ? `${number(shown.length)} of ${plural(data.classes.length, "class", "classes")}` : "";
  }

  // ---- crops
  const picture = (place, index, size = "small", box = true) =>
    `crop/${place}/${index}?${new URLSearchParams({ ...(size !== "small" && { size }), ...(!box && { box: "0" }), v: data.generation })}`;
  function frame(entry, place, index, name, to) {
    const image = el("img", { src: picture(place, index), alt: "", loading: "lazy", decoding: "async" });
    const link = el("a", { class: "crop", href: to, "aria-label": `${entry.name}, exemplar ${index + 1}: ${name}` }, image);
    image.onerror = () => { image.remove(); link.classList.add("failed"); };
    return link;
  }
  const fileName = (name) => el("span", { class: "name", title: name }, name.split("/").at(-1));
  const sizeOf = (exemplar) => exemplar.box ? `${exemplar.box[2]}×${exemplar.box[3]} px` : "whole image";
  const flagsOf = (exemplar) => [
    exemplar.outlier && `outlier: looks like ${exemplar.outlier.nearest}`,
    exemplar.alike?.length && (exemplar.alike.some((each) => each.across) ? "near-duplicate in train and val" : "near-duplicate"),
  ].filter(Boolean);

  function card(entry, place, exemplar) {
    const to = address({ open: exemplar.index + 1, whole: "", box: "" });
    const notes = [sizeOf(exemplar), exemplar.substitute && `substitute ${exemplar.substitute}`, exemplar.times > 1 && `drawn ${exemplar.times} times`];
    return el("li", {}, el("figure", {}, frame(entry, place, exemplar.index, exemplar.name, to),
      el("figcaption", {}, fileName(exemplar.name), el("span", { class: "size" }, notes.filter(Boolean).join(" · ")),
        ...flagsOf(exemplar).map((flag) => el("span", { class: "flag line" }, flag)))));
  }

  // ---- one class
  const first = data.classes.findIndex((entry) => entry.total);
  const current = () => state.class ? find(state.class) : first;
  let turn = 0, mainKey = null;
  async function showClass() {
    const mine = ++turn, place = current();
    if (place < 0) { main.replaceChildren(el("p", { class: "message" }, state.class ? `This file has no class ${state.class}.` : "This file has no exemplars.")); return; }
    const entry = data.classes[place];
    document.title = `${entry.name} · ${data.name}`;
    const facts = [entry.synset !== entry.name && entry.synset, WORDS[entry.frequency], plural(entry.distinct, "different exemplar"),
      entry.short && `under ${data.enough}`, entry.accuracy !== null && `leave-one-out accuracy ${percent(entry.accuracy)}`];
    const head = [
      el("h2", {}, entry.name),
      el("p", { class: "note" }, facts.filter(Boolean).join(" · ")),
      entry.definition && el("p", { class: "definition" }, entry.definition),
      entry.synonyms.length > 0 && el("p", { class: "note" }, `also: ${entry.synonyms.map((word) => word.replaceAll("_", " ")).join(", ")}`),
      entry.nearer && el("p", { class: "finding" }, "Its exemplars look more like the text of ", classLink(entry.nearer.nearest), ` (${entry.nearer.similarity.toFixed(3)}) than like its own (${entry.nearer.own.toFixed(3)}, in place ${entry.nearer.rank}).`),
    ];
    const there = keys.filter((_, index) => entry.counts[index]);
    if (there.length > 1) head.push(sourceChips(entry, there));
    const sections = there.filter((key) => !there.includes(state.source) || key === state.source)
      .map((key) => el("section", { "data-source": key, "aria-label": data.sources[key] }, el("h3", {}, `${data.sources[key]} (${number(entry.counts[keys.indexOf(key)])})`)));
    main.replaceChildren(...head.filter(Boolean), ...sections);
    main.scrollTop = 0;
    let explained = false;
    for (const section of sections) {
      const images = el("ul", { class: "images" });
      section.append(images);
      const found = await more(place, section, images, mine);
      if (found && !explained && entry.short && found.why.length) {
        explained = true;
        main.querySelector(".note").after(el("p", { class: "note" }, found.why.join("; ")));
      }
    }
    if (!there.length) main.append(el("p", { class: "note" }, "No exemplars of this class are in the file."));
  }

  function sourceChips(entry, there) {
    const chip = (key, text) => el("label", {}, el("input", { type: "radio", name: "source", value: key }), el("span", {}, text));
    const set = el("fieldset", { class: "chips sources" }, el("legend", { class: "hidden" }, "Source"),
      chip("", `All ${number(entry.total)}`), ...there.map((key) => chip(key, `${data.sources[key]} ${number(entry.counts[keys.indexOf(key)])}`)));
    (set.querySelector(`input[value="${there.includes(state.source) ? state.source : ""}"]`)).checked = true;
    set.addEventListener("input", (event) => {
      go({ source: event.target.value });
      main.querySelector("input[name=source]:checked")?.focus();
    });
    return set;
  }

  async function more(place, section, images, mine) {
    section.querySelector("button")?.remove();
    let found;
    try {
      found = await ask(`class/${place}`, { source: section.dataset.source, offset: images.children.length });
    } catch (error) {
      if (mine === turn) section.append(el("p", { role: "alert" }, error.message));
      return null;
    }
    if (mine !== turn) return null;
    images.append(...found.exemplars.map((exemplar) => card(data.classes[place], place, exemplar)));
    const left = found.total - images.children.length;
    if (left > 0) {
      const button = el("button", { type: "button" }, `Show more (${number(left)} left)`);
      button.onclick = () => more(place, section, images, turn);
      section.append(button);
    }
    return found;
  }

  // ---- what `exemplars check` found
  const EXPLAINED = {
    duplicates: "Pairs of exemplars whose features are all but the same.",
    across: "Near-duplicates of which one is in train and the other in val: what is tested on was trained on.",
    outliers: "Exemplars that look less like their class than its others do, and which class they look most like.",
    confused: "Classes whose exemplars look more like another class's text than like their own.",
    accuracy: "The share of a class's exemplars that are nearest to the mean of its others, rather than to another class's mean.",
  };
  async function showCheck() {
    const mine = ++turn;
    document.title = `Check · ${data.name}`;
    if (!data.check) {
      main.replaceChildren(el("h2", {}, "Check"), el("p", { class: "note" }, "There is no report on this file yet. These two write it; then start this page again:"),
        el("pre", { tabindex: "0", "aria-label": "Commands" }, `ovforge exemplars embed ${data.name} --vision MODEL\novforge exemplars check ${data.name} --features FOLDER --vision MODEL`),
        el("p", { class: "note" }, "It finds near-duplicates, also between train and val, outliers, classes that are nearer to another class's text, and how well classes are told apart."));
      return;
    }
    const kinds = data.check.kinds, kind = state.check in kinds ? state.check : Object.keys(kinds).find((key) => kinds[key].count) ?? "duplicates";
    const tabs = el("fieldset", { class: "chips sources" }, el("legend", { class: "hidden" }, "What was found"),
      ...Object.entries(kinds).map(([key, { title, count }]) => el("label", {}, el("input", { type: "radio", name: "kind", value: key }), el("span", {}, `${title} ${number(count)}`))));
    tabs.querySelector(`input[value=${kind}]`).checked = true;
    tabs.addEventListener("input", (event) => { go({ check: event.target.value }); main.querySelector("input[name=kind]:checked")?.focus(); });
    const facts = [data.check.model && `features of ${data.check.model}`, plural(data.check.exemplars, "exemplar"), data.check.accuracy !== null && `leave-one-out accuracy ${percent(data.check.accuracy)}`];
    const body = kind === "accuracy" || kind === "confused" ? table(kind) : el("ul", { class: "findings" });
    main.replaceChildren(el("h2", {}, "Check"), el("p", { class: "note" }, facts.filter(Boolean).join(" · ")), tabs, el("p", { class: "note" }, EXPLAINED[kind]), body);
    main.scrollTop = 0;
    await moreFound(kind, body, mine);
  }

  function table(kind) {
    const heads = kind === "accuracy" ? ["Class", "Exemplars", "Accuracy"] : ["Class", "Nearest text", "Cosine", "Own text", "Its place"];
    return el("table", { class: "found" }, el("thead", {}, el("tr", {}, ...heads.map((head, index) => el("th", { scope: "col", class: index > (kind === "accuracy" ? 0 : 1) ? "n" : null }, head)))), el("tbody"));
  }

  async function moreFound(kind, body, mine) {
    main.querySelector("button.more")?.remove();
    const rows = body.matches("table") ? body.tBodies[0] : body;
    let found;
    try { found = await ask(`check/${kind}`, { offset: rows.children.length }); } catch (error) {
      if (mine === turn) main.append(el("p", { role: "alert" }, error.message));
      return;
    }
    if (mine !== turn) return;
    rows.append(...found.found.map((each) => body.matches("table") ? row(kind, each) : pairOf(kind, each)));
    if (!found.total) body.replaceWith(el("p", { class: "message note" }, "Nothing was found."));
    const left = found.total - rows.children.length;
    if (left > 0) {
      const button = el("button", { type: "button", class: "more" }, `Show more (${number(left)} left)`);
      button.onclick = () => moreFound(kind, body, turn);
      main.append(button);
    }
  }

  function row(kind, each) {
    const head = el("th", { scope: "row" }, classLink(each.class));
    const n = (text) => el("td", { class: "n" }, text);
    if (kind === "accuracy") return el("tr", {}, head, n(number(each.exemplars)), n(percent(each.accuracy)));
    return el("tr", {}, head, el("td", {}, classLink(each.nearest)), n(each.similarity.toFixed(3)), n(each.own.toFixed(3)), n(number(each.rank)));
  }

  function sideOf(side) {
    if (side.place === null) return el("figure", {}, el("div", { class: "crop absent" }, el("span", {}, "in the other list, not in this file")), el("figcaption", {}, fileName(side.name)));
    const entry = data.classes[side.place];
    return el("figure", {}, frame(entry, side.place, side.index, side.name, address({ class: named(entry), source: "", open: side.index + 1, whole: "", box: "" })),
      el("figcaption", {}, classLink(named(entry), entry.name), fileName(side.name)));
  }
  function pairOf(kind, each) {
    const text = kind === "outliers"
      ? [`${each.similarity.toFixed(2)} where ${each.usual.toFixed(2)} is usual; looks like `, classLink(each.nearest)]
      : [`cosine ${each.similarity.toFixed(3)}`, each.across && el("span", { class: "flag" }, "train and val"), each.sides[0].class !== each.sides[1].class && el("span", { class: "flag" }, "two classes")];
    return el("li", { class: each.sides.length > 1 ? "two" : null }, el("div", { class: "sides" }, ...each.sides.map(sideOf)), el("p", {}, ...text));
  }

  // ---- one exemplar, large
  let opened = null, asking = 0;
  async function showExemplar() {
    const mine = ++asking;
    if (!state.open) { opened = null; if (dialog.open) dialog.close(); return; }
    const place = current(), entry = data.classes[place];
    const index = Number(state.open) - 1;
    if (!dialog.open) dialog.showModal();
    let found = opened;
    if (!opened || opened.place !== place || opened.exemplar.index !== index) {
      try {
        if (!entry) throw new Error(`This file has no class ${state.class}.`);
        if (!Number.isInteger(index) || index < 0) throw new Error(`"${state.open}" is not the number of an exemplar.`);
        found = { place, exemplar: await ask(`exemplar/${place}/${index}`, state.source ? { source: state.source } : {}) };
      } catch (error) {
        if (mine !== asking) return;
        opened = null;
        $("exemplar-name").textContent = entry?.name ?? state.class;
        $("exemplar-place").textContent = "";
        $("enlarged").hidden = true;
        $("exemplar-facts").replaceChildren(el("p", { role: "alert" }, error.message));
        for (const id of ["previous", "next", "whole", "box"]) $(id).disabled = true;
        return;
      }
      if (mine !== asking) return;
      opened = found;
    }
    drawExemplar(entry, found);
  }

  function drawExemplar(entry, { place, exemplar }) {
    const whole = Boolean(state.whole) || !exemplar.box, box = state.box !== "0";
    $("exemplar-name").textContent = entry.name;
    $("exemplar-place").textContent = exemplar.place ? `${number(exemplar.place)} of ${number(exemplar.of)}` : "";
    const image = $("enlarged"), source = picture(place, exemplar.index, whole ? "whole" : "large", box || !exemplar.box);
    image.hidden = false;
    image.parentElement.classList.remove("failed");
    if (image.getAttribute("src") !== source) image.src = source;
    image.alt = `${entry.name}, exemplar ${exemplar.index + 1}${whole ? "" : ", cut out"}`;
    $("previous").disabled = exemplar.previous === null;
    $("next").disabled = exemplar.next === null;
    $("whole").disabled = $("box").disabled = !exemplar.box;
    $("whole").setAttribute("aria-pressed", String(whole && Boolean(exemplar.box)));
    $("box").setAttribute("aria-pressed", String(box && Boolean(exemplar.box)));
    const row = (term, ...values) => [el("dt", {}, term), el("dd", {}, ...values)];
    const facts = el("dl", {}, ...row("Class", classLink(named(entry), entry.name)), ...row("Source", data.sources[exemplar.source]), ...row("File", exemplar.name),
      ...(exemplar.box ? row("Box", `${exemplar.box[2]} × ${exemplar.box[3]} px at ${exemplar.box[0]}, ${exemplar.box[1]}`) : row("Box", "none: the whole image")),
      ...(exemplar.substitute ? row("Substitute", exemplar.substitute) : []), ...(exemplar.times > 1 ? row("Drawn", `${exemplar.times} times`) : []));
    const odd = exemplar.outlier, found = [];
    if (odd) found.push(el("h3", {}, "Outlier"), el("p", {}, `Its cosine with the class's others is ${odd.similarity.toFixed(2)}, where ${odd.usual.toFixed(2)} is usual. It looks like `, classLink(odd.nearest), "."));
    if (exemplar.alike?.length) {
      found.push(el("h3", {}, "Near-duplicates"), el("ul", { class: "images" }, ...exemplar.alike.map((side) => el("li", {}, sideOf(side),
        el("p", { class: "note" }, `cosine ${side.similarity.toFixed(3)}`, side.across && el("span", { class: "flag" }, "train and val"))))));
    }
    $("exemplar-facts").replaceChildren(facts, ...found, el("p", { class: "note keys" }, "← → other exemplars · w whole image · b box · Esc close"));
  }

  function step(way) {
    const to = opened?.exemplar[way];
    if (to !== null && to !== undefined) go({ open: String(to + 1) });
  }
  function close() {
    // Back to where it was opened, so that the browser's own way back does not open it again.
    if (history.state?.pushed) history.back();
    else go({ open: "", whole: "", box: "" });
  }
  $("enlarged").onerror = () => { $("enlarged").hidden = true; $("enlarged").parentElement.classList.add("failed"); };
  $("previous").onclick = () => step("previous");
  $("next").onclick = () => step("next");
  $("whole").onclick = () => go({ whole: state.whole ? "" : "1" });
  $("box").onclick = () => go({ box: state.box === "0" ? "" : "0" });
  $("close").onclick = close;
  $("share").onclick = async () => {
    try { await navigator.clipboard.writeText(location.href); $("share").textContent = "Copied"; } catch { $("share").textContent = "Copy the address"; }
    setTimeout(() => { $("share").textContent = "Copy link"; }, 1500);
  };
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(); });
  dialog.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault(); // within the dialog, links lead on without piling up
    const to = new URLSearchParams(link.hash.slice(1));
    history.replaceState(to.get("open") ? history.state : null, "", link.getAttribute("href"));
    apply();
  });

  // ---- everything follows the address
  function apply() {
    const before = state;
    state = Object.fromEntries([...new URLSearchParams(location.hash.slice(1))].filter(([key, value]) => ORDER.includes(key) && value));
    const changed = (...some) => some.some((key) => before[key] !== state[key]);
    if ($("search").value !== (state.q ?? "") && document.activeElement !== $("search")) $("search").value = state.q ?? "";
    for (const input of document.querySelectorAll("input[name=which]")) input.checked = input.value === (state.which ?? "");
    for (const input of document.querySelectorAll("input[name=freq]")) input.checked = (state.freq ?? "").includes(input.value);
    $("sort").value = state.sort ?? "";
    if (mainKey === null || changed("q", "which", "freq", "sort")) draw();
    const key = state.check ? `check ${state.check}` : `class ${state.class ?? ""} ${state.source ?? ""}`;
    if (key !== mainKey) {
      mainKey = key;
      state.check ? showCheck() : showClass();
    }
    const place = state.check ? -1 : current();
    for (const link of list.querySelectorAll("[aria-current]")) link.removeAttribute("aria-current");
    if (place >= 0) {
      links[place].firstChild.setAttribute("aria-current", "true");
      if (links[place].isConnected && matchMedia("(min-width: 900px)").matches && changed("class")) links[place].scrollIntoView({ block: "nearest" });
    }
    $("to-classes").href = address({ check: "", open: "", whole: "", box: "" });
    $("to-check").href = address({ check: data.check ? Object.keys(data.check.kinds).find((kind) => data.check.kinds[kind].count) ?? "duplicates" : "help", open: "", whole: "", box: "" });
    $(state.check ? "to-check" : "to-classes").setAttribute("aria-current", "page");
    $(state.check ? "to-classes" : "to-check").removeAttribute("aria-current");
    showExemplar();
  }

  $("controls").addEventListener("input", () => {
    const freq = [...document.querySelectorAll("input[name=freq]:checked")].map((input) => input.value).join("");
    go({ q: $("search").value.trim(), which: document.querySelector("input[name=which]:checked").value, freq, sort: $("sort").value });
  });
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  main.addEventListener("click", (event) => {
    const link = event.target.closest("a.crop[href]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    history.pushState({ pushed: true }, "", link.getAttribute("href"));
    apply();
  });
  addEventListener("hashchange", apply);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (dialog.open) {
      const act = { ArrowLeft: () => step("previous"), ArrowRight: () => step("next"), w: () => $("whole").click(), b: () => $("box").click() }[event.key];
      if (act) { event.preventDefault(); act(); }
      return;
    }
    if (event.target.closest?.("input[type=search], select")) { if (event.key === "Escape") event.target.blur(); return; }
    if (event.key === "/") { event.preventDefault(); $("search").focus(); $("search").select(); return; }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp" || event.target.type === "radio") return;
    const marked = list.querySelector("[aria-current]")?.parentElement;
    if (!marked && event.target.closest?.(".crops")) return; // the check's own pages scroll
    event.preventDefault();
    const next = !marked ? list.firstElementChild : event.key === "ArrowDown" ? marked.nextElementSibling : marked.previousElementSibling;
    const link = next?.querySelector("a");
    if (link) { history.replaceState(null, "", link.getAttribute("href")); apply(); link.focus(); }
  });
  apply();
})();
