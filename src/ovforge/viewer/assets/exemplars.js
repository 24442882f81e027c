// The classes of an exemplar file, and the images of the chosen one.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const list = $("list"), crops = $("crops"), keys = Object.keys(data.sources);
  const el = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const svg = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const largest = Math.max(1, ...data.classes.map((entry) => entry.total));

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
    const number = entry.distinct === entry.total ? String(entry.total) : `${entry.distinct}/${entry.total}`;
    const link = el("a", { href: `#class=${encodeURIComponent(entry.synset)}`, title: `${entry.synset}: ${entry.distinct} different exemplars` },
      el("span", {}, entry.name), bar, el("span", { class: "n" }, number));
    if (entry.short) link.classList.add("short");
    const item = el("li", {}, link);
    item.dataset.place = place;
    return item;
  });

  function draw() {
    const text = $("search").value.trim().toLowerCase();
    const short = document.querySelector("input[name=which]:checked").value === "short";
    const sort = $("sort").value;
    let places = data.classes.map((_, place) => place).filter((place) => {
      const entry = data.classes[place];
      return (!short || entry.short) && (!text || entry.name.toLowerCase().includes(text) || entry.synset.includes(text));
    });
    const by = (key) => places.sort((a, b) => key(data.classes[a]) < key(data.classes[b]) ? -1 : key(data.classes[a]) > key(data.classes[b]) ? 1 : a - b);
    if (sort === "few") by((entry) => entry.distinct);
    if (sort === "name") by((entry) => entry.name);
    list.replaceChildren(...places.map((place) => links[place]));
    if (!places.length) list.append(el("li", { class: "message note" }, "No class is like that."));
  }

  let turn = 0;
  async function show() {
    const mine = ++turn, synset = new URLSearchParams(location.hash.slice(1)).get("class");
    const place = synset ? data.classes.findIndex((entry) => entry.synset === synset) : data.classes.findIndex((entry) => entry.total);
    for (const item of links) item.firstChild.removeAttribute("aria-current");
    if (place < 0) { crops.replaceChildren(el("p", { class: "message" }, synset ? `This file has no class ${synset}.` : "This file has no exemplars.")); return; }
    const entry = data.classes[place];
    links[place].firstChild.setAttribute("aria-current", "true");
    if (matchMedia("(min-width: 900px)").matches) links[place].scrollIntoView({ block: "nearest" });
    document.title = `${entry.name} · ${data.name}`;
    const words = { r: "rare", c: "common", f: "frequent" }[entry.frequency];
    const head = el("p", { class: "note" }, [entry.synset, words, `${entry.distinct} different exemplars`, entry.short ? `under ${data.enough}` : ""].filter(Boolean).join(" · "));
    const sections = keys.map((key, index) => el("section", { "data-source": key },
      el("h3", {}, `${data.sources[key]} (${entry.counts[index].toLocaleString("en")})`)));
    crops.replaceChildren(el("h2", {}, entry.name), head, ...sections.filter((_, index) => entry.counts[index]));
    crops.scrollTop = 0;
    let explained = false;
    for (const section of sections) {
      if (!section.isConnected) continue;
      const images = el("ul", { class: "images" });
      section.append(images);
      const found = await more(place, section, images, mine);
      if (found && !explained && entry.short && found.why.length) {
        explained = true;
        head.after(el("p", { class: "note" }, found.why.join("; ")));
      }
    }
  }

  async function more(place, section, images, mine) {
    const button = section.querySelector("button");
    button?.remove();
    let found;
    try {
      const answer = await fetch(`api/class/${place}?${new URLSearchParams({ source: section.dataset.source, offset: images.children.length })}`);
      found = await answer.json();
      if (!answer.ok) throw new Error([found.error, found.hint].filter(Boolean).join(" — "));
    } catch (error) {
      section.append(el("p", { role: "alert" }, error.message));
      return null;
    }
    if (mine !== turn) return null;
    for (const exemplar of found.exemplars) {
      const size = exemplar.box ? `${exemplar.box[2]}×${exemplar.box[3]} px` : "whole image";
      const image = el("img", { src: `crop/${place}/${exemplar.index}`, alt: `${data.classes[place].name}, ${exemplar.name}`, loading: "lazy", decoding: "async" });
      const frame = el("div", { class: "frame" }, image);
      image.onerror = () => { image.remove(); frame.classList.add("failed"); };
      const caption = el("figcaption", {}, exemplar.name, el("br"), size, exemplar.substitute ? ` · substitute ${exemplar.substitute}` : "");
      images.append(el("li", {}, el("figure", {}, frame, caption)));
    }
    const left = found.total - images.children.length;
    if (left > 0) {
      const button = el("button", { type: "button" }, `Show more (${left.toLocaleString("en")} left)`);
      button.onclick = () => more(place, section, images, turn);
      section.append(button);
    }
    return found;
  }

  $("controls").addEventListener("input", draw);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", show);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input[type=search], select")) { if (event.key === "Escape") event.target.blur(); return; }
    if (event.key === "/") { event.preventDefault(); $("search").focus(); $("search").select(); return; }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp" || event.target.type === "radio") return;
    event.preventDefault();
    const current = list.querySelector("[aria-current]")?.parentElement;
    const next = !current ? list.firstElementChild : event.key === "ArrowDown" ? current.nextElementSibling : current.previousElementSibling;
    const link = next?.querySelector("a");
    if (link) { location.replace(link.href); link.focus(); }
  });
  draw();
  show();
})();
