// What plays a clip: all its frames lie over each other, loaded ahead, and one of them is seen.
"use strict";
function clipPlayer({ el, address, thumb, changed, settled }) {
  const $ = (id) => document.getElementById(id);
  const SPEEDS = [1, 2, 4, 8, 15, 30], USUAL = 4; // frames per second
  let frames = [], at = 0, playing = false, shownAt = 0, speed = USUAL, loop = true;

  // A frame that cannot be read is not waited for.
  const ready = (k) => frames[k].classList.contains("failed") || (frames[k].complete && frames[k].naturalWidth > 0);

  // The images of a clip, of which `frame` is seen.
  function open(clip, frame) {
    playing = false;
    const count = clip.views.length;
    frames = clip.views.map((view, k) => {
      const image = el("img", { class: "frame", alt: `Frame ${k} of ${clip.title}`, draggable: "false" });
      image.onerror = () => { image.classList.add("failed"); if (k === at) draw(); };
      image.onload = () => tellLoaded();
      return image;
    });
    at = Math.min(Math.max(frame, 0), count - 1);
    // The one that is seen comes first, then those that will be played next.
    for (let k = 0; k < count; k++) frames[(at + k) % count].src = address(clip, (at + k) % count);
    $("scrub").max = count - 1;
    $("strip").replaceChildren(...clip.views.map((view, k) => {
      const small = el("img", { src: thumb(clip, k), alt: "", decoding: "async", loading: "lazy" });
      const button = el("button", { type: "button", "aria-label": `Frame ${k}` }, small, el("span", { "aria-hidden": "true" }, String(k)));
      button.onclick = () => go(k);
      return el("li", {}, button);
    }));
    tellLoaded();
    return frames;
  }

  function close() {
    playing = false;
    for (const image of frames) { image.onload = image.onerror = null; image.removeAttribute("src"); }
    frames = [];
    $("strip").replaceChildren();
  }

  function tellLoaded() {
    const there = frames.filter((_, k) => ready(k)).length;
    $("loaded").textContent = there < frames.length ? `${there} of ${frames.length} frames loaded` : "";
  }

  function draw() {
    frames.forEach((image, k) => image.classList.toggle("seen", k === at));
    $("scrub").value = at;
    $("scrub").setAttribute("aria-valuetext", `frame ${at} of 0 to ${frames.length - 1}`);
    $("frame-text").textContent = `frame ${at} / ${frames.length - 1}`;
    const strip = $("strip"), buttons = strip.querySelectorAll("button");
    buttons.forEach((button, k) => {
      button.tabIndex = k === at ? 0 : -1;
      button.setAttribute("aria-current", String(k === at));
    });
    const here = buttons[at]?.parentElement;
    if (here) { // only sideways: the page stays where it is
      if (here.offsetLeft < strip.scrollLeft) strip.scrollLeft = here.offsetLeft;
      const beyond = here.offsetLeft + here.offsetWidth - strip.clientWidth;
      if (beyond > strip.scrollLeft) strip.scrollLeft = beyond;
    }
    $("previous-frame").disabled = at === 0;
    $("next-frame").disabled = at === frames.length - 1;
    $("play").textContent = playing ? "Pause" : "Play";
    $("speed").value = speed;
    $("loop").checked = loop;
    changed(at, frames[at]?.classList.contains("failed"));
  }

  function seek(k) {
    at = Math.min(Math.max(k, 0), frames.length - 1);
    draw();
  }

  // To a frame that somebody asked for.
  function go(k) {
    const inStrip = $("strip").contains(document.activeElement);
    playing = false;
    seek(k);
    if (inStrip) $("strip").querySelectorAll("button")[at].focus({ preventScroll: true });
    settled();
  }

  function pause() {
    if (!playing) return;
    playing = false;
    $("play").textContent = "Play";
    settled();
  }

  function play() {
    if (playing || !frames.length) return;
    playing = true;
    if (at === frames.length - 1) seek(0);
    else draw();
    shownAt = performance.now();
    requestAnimationFrame(tick);
  }

  function tick(now) {
    if (!playing) return;
    const next = at + 1 < frames.length ? at + 1 : loop ? 0 : -1;
    if (next < 0) { pause(); return; }
    if (now - shownAt >= 1000 / speed - 4 && ready(next)) { // a screen's frame is not missed for a rounding error
      shownAt = now;
      seek(next);
    }
    requestAnimationFrame(tick);
  }

  function configure(wanted) {
    speed = SPEEDS.includes(wanted.speed) ? wanted.speed : USUAL;
    loop = wanted.loop;
  }

  $("speed").replaceChildren(...SPEEDS.map((n) => el("option", { value: n }, `${n} per second`)));
  $("play").onclick = () => (playing ? pause() : play());
  $("scrub").oninput = (event) => { playing = false; seek(+event.target.value); };
  $("scrub").onchange = () => settled();
  $("previous-frame").onclick = () => go(at - 1);
  $("next-frame").onclick = () => go(at + 1);
  $("speed").onchange = (event) => { speed = +event.target.value; settled(); };
  $("loop").onchange = (event) => { loop = event.target.checked; settled(); };
  return {
    open, close, draw, go, pause, configure, USUAL,
    toggle: () => (playing ? pause() : play()),
    get at() { return at; }, get count() { return frames.length; }, get playing() { return playing; },
    get speed() { return speed; }, get loop() { return loop; },
  };
}
