// The page of a reader. The server holds the rules: each request returns what may be shown now.

import { AnswerForm, confidenceOf } from "./answer_form.js";
import { Viewer } from "./viewer.js";

const part = (id) => document.getElementById(id);
const PHASES = { unaided: "without the model", aided: "with the model's advice" };
const view = part("view");

let page; // name of this page at the server
let state = {};
let shown; // key of the case whose images are in the viewer
let failed = false;
let busy = false;
let saved; // text of the answer that is on the server's disk
let mark = null; // { slice, column, row }
let aim; // point that the arrows move while the tumour is being marked
let seen = new Set();
let told = 0;

const viewer = new Viewer(part("canvas"));
const form = new AnswerForm(() => say(""));

// -- requests

class Refused extends Error {
  constructor(text, stale) {
    super(text);
    this.stale = stale;
  }
}

async function send(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Refused("The program does not answer; expected it to run. Start gtrstaging reading serve again, and open "
      + "the address that it prints. Saved answers are on the disk.", false);
  }
  if (answer.ok) return answer;
  const found = await answer.json().catch(() => ({ error: "The address is not valid any more. Open the printed one." }));
  throw new Refused(found.error, answer.status === 409);
}

async function ask(action, data = {}) {
  const answer = await send(`do/${action}`, {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ page, key: state.item?.key, ...data }),
  });
  return answer.json();
}

/** Does one thing at a time; an error is shown in words. */
async function attempt(work) {
  if (busy) return;
  busy = true;
  for (const id of ["save", "next", "pause"]) part(id).disabled = true;
  try {
    await work();
  } catch (error) {
    if (error.stale) screen("Not here", error.message, "Read here", open);
    else say(error.message, true);
    if (!(error instanceof Refused)) console.error(error);
  }
  busy = false;
  for (const id of ["save", "next", "pause"]) part(id).disabled = id !== "pause" && shown === undefined;
}

const act = (action, data) => attempt(async () => update(await ask(action, data)));
const open = () => attempt(async () => {
  shown = undefined;
  const found = await ask("open");
  page = found.page;
  await update(found);
});

const seenNow = () => ({ slices: [...seen], window_level: viewer.level, window_width: viewer.width });

// What was seen is told now and then, so that a page that is loaded again does not lose it.
// It is not one of the things done one at a time, so that no key is lost while it is under way.
setInterval(async () => {
  if (busy || state.state !== "reading" || shown === undefined || shown !== state.item.key) return;
  if (seen.size === told) return;
  told = seen.size;
  const key = shown;
  try {
    await ask("seen", { seen: seenNow() });
  } catch (error) {
    if (busy || shown !== key || state.state !== "reading") return; // the reader was quicker
    if (error.stale) screen("Not here", error.message, "Read here", open);
    else told = 0;
  }
}, 3000);

// -- what is shown

function say(text, wrong = false) {
  part("status").textContent = text;
  part("status").classList.toggle("wrong", wrong);
}

function screen(title, text, button, action) {
  part("case").hidden = true;
  part("message").hidden = false;
  const [head, body, press] = part("message").children;
  [head.textContent, body.textContent, press.textContent] = [title, text, button ?? ""];
  press.hidden = !button;
  press.onclick = action;
  if (button) press.focus();
  for (const id of ["pause", "earlier"]) part(id).hidden = true;
}

async function update(found) {
  state = found;
  part("progress").textContent = found.progress;
  part("phase").textContent = PHASES[found.phase];
  part("reader").textContent = `Reader ${found.reader}`;
  if (found.state === "paused")
    return screen("Paused", "The clock stands still, and the images are hidden.", "Go on", () => act("resume"));
  if (found.state === "washing out") {
    const opens = new Date(found.opens).toLocaleString([], { dateStyle: "full", timeStyle: "short" });
    return screen("The first part is done", `The second part opens on ${opens}.\nYou can close this page until then.`,
      "Look again", () => act("proceed"));
  }
  if (found.state !== "reading") {
    screen("All cases are read", "Thank you. End the program by Ctrl+C, and give the folder back to the organiser.");
    part("earlier").hidden = !found.revisable?.length;
    return;
  }
  part("message").hidden = true;
  part("case").hidden = false;
  part("pause").hidden = false;
  part("earlier").hidden = !found.revisable?.length;
  if (shown !== found.item.key) await display(found.item);
  if (part("message").contains(document.activeElement) || document.activeElement === document.body) view.focus();
  drawMark();
}

async function display(item) {
  shown = undefined;
  [mark, aim, saved, seen, told] = [item.answer?.mark ?? null, undefined, undefined, new Set(), 0];
  form.clear();
  if (item.answer) {
    form.fill(item.answer);
    saved = JSON.stringify(answerNow().answer);
  }
  say(item.answer ? "Saved. It can be given again until Next." : "");
  part("loading").hidden = false;
  part("loading").textContent = "Loading the CT …";
  // Advice stands beside the image alone, and no answer is taken before it: the seconds begin with the image.
  part("advice").hidden = true;
  part("panel").inert = true;
  viewer.clear();
  [viewer.level, viewer.width] = item.window;
  const address = (name) => `${name}?page=${encodeURIComponent(page)}&key=${encodeURIComponent(item.key)}`;
  const load = async (name) => (await send(address(name))).arrayBuffer();
  try {
    const ct = await load("ct");
    await viewer.show(ct, item.advice?.map ? await load("map") : undefined);
  } catch (error) {
    part("loading").textContent = error instanceof Refused ? error.message
      : "The CT cannot be displayed; expected a browser with WebGL 2. Use a current Chrome, Edge, Firefox or Safari.";
    throw error;
  }
  advise(item.advice);
  part("panel").inert = false;
  viewer.mapShown = part("map").checked;
  part("slice").max = item.slices - 1;
  part("key-slice").hidden = item.key_slice === null;
  shown = item.key;
  show(item.key_slice ?? Math.floor(item.slices / 2));
  drawWindow();
  part("loading").hidden = true;
  view.focus({ preventScroll: true });
  state = await ask("displayed");
}

function advise(advice) {
  part("advice").hidden = advice === null;
  part("map-switch").hidden = !advice?.map;
  part("map").checked = Boolean(advice?.map);
  const list = part("advice").querySelector("dl");
  list.replaceChildren();
  if (!advice) return;
  const row = (name, ...content) => {
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    value.append(...content);
    list.append(term, value);
  };
  if ("stage" in advice) row("Stage", advice.stage ?? "not given");
  if ("set" in advice) row("Stage set", advice.set ?? "not given");
  if ("votes" in advice) row("Votes of slices", advice.votes?.join(" ") ?? "not given");
  if (advice.probabilities) {
    row("Probabilities", ...advice.probabilities.map((share, i) => {
      const [line, name, bar, text] = ["div", "span", "meter", "span"].map((tag) => document.createElement(tag));
      line.className = "share";
      [name.textContent, bar.value, text.textContent] = [`T${i + 1}`, share, `${(100 * share).toFixed(0)} %`];
      bar.setAttribute("aria-label", `T${i + 1}`);
      line.append(name, bar, text);
      return line;
    }));
  }
}

function show(index) {
  if (shown === undefined) return;
  const slice = Math.min(state.item.slices - 1, Math.max(0, index));
  viewer.setSlice(slice);
  seen.add(slice);
  part("slice").value = slice;
  part("slice-number").textContent = `${slice} (0 to ${state.item.slices - 1})`;
  const key = slice === state.item.key_slice;
  part("badge").hidden = !key;
  view.setAttribute("aria-label", `CT, axial slice ${slice} of 0 to ${state.item.slices - 1}${key ? ", key slice" : ""}`);
  drawMark();
}

function setWindow(level, width) {
  if (shown === undefined) return;
  viewer.setWindow(Math.round(Math.min(3000, Math.max(-1000, level))), Math.round(Math.min(6000, Math.max(10, width))));
  drawWindow();
}

function drawWindow() {
  for (const name of ["level", "width"]) {
    part(name).value = viewer[name];
    part(`${name}-number`).textContent = `${viewer[name]} HU`;
  }
}

function reset() {
  if (shown === undefined) return;
  viewer.resetView();
  setWindow(...state.item.window);
  drawMark();
}

function drawMark() {
  const point = aim ?? (mark && mark.slice === viewer.slice ? [mark.column, mark.row] : undefined);
  const at = point && shown !== undefined ? viewer.positionOf(point) : undefined;
  part("cross").hidden = !at;
  part("cross").classList.toggle("aim", aim !== undefined);
  if (at) [part("cross").style.left, part("cross").style.top] = at.map((x) => `${x}px`);
  part("mark").setAttribute("aria-pressed", aim !== undefined);
  part("unmark").hidden = mark === null;
}

// -- what the reader does

function answerNow() {
  const found = form.read();
  if (found.answer) found.answer.mark = mark;
  return found;
}

function save(next) {
  if (shown === undefined) return;
  const { answer, missing } = answerNow();
  if (missing) {
    say(missing, true);
    return;
  }
  const text = JSON.stringify(answer);
  attempt(async () => {
    if (text === saved) {
      if (next) await update(await ask("next"));
      return;
    }
    const found = await ask("answer", { answer, seen: seenNow(), next });
    saved = text;
    if (!next) say("Saved. It can be given again until Next.");
    await update(found);
  });
}

function setMark(point) {
  mark = { slice: viewer.slice, column: point[0], row: point[1] };
  aim = undefined;
  drawMark();
  say("");
}

const aiming = (on) => {
  aim = on && shown !== undefined ? (mark?.slice === viewer.slice ? [mark.column, mark.row] : viewer.middle) : undefined;
  drawMark();
};

part("form").addEventListener("submit", (event) => { event.preventDefault(); save(true); });
part("save").addEventListener("click", () => save(false));
part("pause").addEventListener("click", () => act("pause"));
part("keys").addEventListener("click", () => part("keys-dialog").showModal());
part("slice").addEventListener("input", (event) => show(Number(event.target.value)));
part("level").addEventListener("input", (event) => setWindow(Number(event.target.value), viewer.width));
part("width").addEventListener("input", (event) => setWindow(viewer.level, Number(event.target.value)));
part("key-slice").addEventListener("click", () => show(state.item.key_slice));
part("reset").addEventListener("click", reset);
part("mark").addEventListener("click", () => aiming(aim === undefined));
part("unmark").addEventListener("click", () => { mark = null; drawMark(); });
part("map").addEventListener("change", (event) => { viewer.mapShown = event.target.checked; });
new ResizeObserver(() => requestAnimationFrame(drawMark)).observe(view);

// After a click the keys are the image's again: arrows must scroll, and not alter an answer.
document.addEventListener("pointerup", (event) => {
  const used = event.target.closest("button, input[type=range], input[type=checkbox]");
  if (used?.closest("#case") && !part("case").hidden) setTimeout(() => view.focus({ preventScroll: true }));
});

// -- keys

const KEYS = {
  ArrowUp: () => show(viewer.slice + 1), ArrowDown: () => show(viewer.slice - 1),
  PageUp: () => show(viewer.slice + 5), PageDown: () => show(viewer.slice - 5),
  Home: () => show(0), End: () => show(Infinity),
  "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), r: reset,
  k: () => state.item.key_slice !== null && show(state.item.key_slice),
  m: () => { if (state.item.advice?.map) part("map").click(); },
  t: () => aiming(aim === undefined), p: () => act("pause"),
  c: () => { part("confidence").focus(); part("confidence").select(); }, n: () => part("remarks").focus(),
  a: () => form.setSubstage("T4a"), b: () => form.setSubstage("T4b"),
  Delete: () => part("unmark").click(), " ": () => save(false), Enter: () => save(true),
  1: () => form.setStage("T1"), 2: () => form.setStage("T2"), 3: () => form.setStage("T3"), 4: () => form.setStage("T4"),
  "?": () => part("keys-dialog").showModal(),
};
const STEPS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

function zoom(factor) {
  viewer.zoom(factor);
  drawMark();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const at = event.target;
  if (at.matches("textarea, input[type=text], select")) {
    if (event.key === "Escape") view.focus();
    if (at.id === "confidence" && event.key === " ") { event.preventDefault(); save(false); }
    return;
  }
  if (state.state !== "reading" || (shown === undefined && event.key !== "?")) return;
  if (at.matches("button, input[type=checkbox]") && [" ", "Enter"].includes(event.key)) return;
  if (at.matches("input[type=range]") && event.key in STEPS) return;
  const step = STEPS[event.key];
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (aim !== undefined && step) {
    aim = viewer.within([aim[0] + step[0] * (event.shiftKey ? 10 : 1), aim[1] + step[1] * (event.shiftKey ? 10 : 1)]);
    drawMark();
  } else if (aim !== undefined && ["Enter", " "].includes(key)) setMark(aim);
  else if (aim !== undefined && key === "Escape") aiming(false);
  else if (event.shiftKey && step) setWindow(viewer.level - 10 * step[1], viewer.width + 20 * step[0]);
  else if (key in KEYS) KEYS[key]();
  else return;
  event.preventDefault();
});

// -- mouse and touch on the image

const fingers = new Map();
let drag; // how the gesture began

view.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.ctrlKey) zoom(event.deltaY < 0 ? 1.1 : 1 / 1.1);
  else if (event.deltaY) show(viewer.slice + (event.deltaY < 0 ? 1 : -1));
}, { passive: false });

const spread = () => {
  const [a, b] = [...fingers.values()];
  return { size: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
};

view.addEventListener("pointerdown", (event) => {
  if (shown === undefined) return;
  view.focus({ preventScroll: true });
  view.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  drag = { x: event.clientX, y: event.clientY, slice: viewer.slice, level: viewer.level, width: viewer.width,
    moved: fingers.size > 1, pair: fingers.size === 2 ? spread() : undefined };
});

view.addEventListener("pointermove", (event) => {
  if (!drag || !fingers.has(event.pointerId)) return;
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (fingers.size === 2) {
    const now = spread();
    viewer.zoom(now.size / Math.max(1, drag.pair.size));
    viewer.pan(now.x - drag.pair.x, now.y - drag.pair.y);
    drag.pair = now;
    drawMark();
    return;
  }
  if (!drag.moved && Math.hypot(dx, dy) < 5) return;
  drag.moved = true;
  if (event.pointerType === "touch") show(drag.slice - Math.round(dy / 12));
  else setWindow(drag.level + dy, drag.width + 2 * dx);
});

view.addEventListener("pointerup", (event) => {
  fingers.delete(event.pointerId);
  if (drag && !drag.moved && aim !== undefined) {
    const box = view.getBoundingClientRect();
    const point = viewer.pointAt(event.clientX - box.left, event.clientY - box.top);
    if (point) setMark(point);
    else say("The point is beside the slice. Mark a point on it.", true);
  }
  if (fingers.size === 0) drag = undefined;
});
view.addEventListener("pointercancel", (event) => { fingers.delete(event.pointerId); drag = undefined; });

// -- earlier answers, if the design lets them be changed

const revised = () => state.revisable.find((one) => String(one.place) === part("revised").value);

function fillRevision() {
  const one = revised();
  part("revised-stage").value = one.substage ?? one.stage;
  part("revised-confidence").value = one.confidence;
  part("revised-remarks").value = one.remarks;
}

function listRevisable(place) {
  part("revised").replaceChildren(...state.revisable.map((one) => {
    const option = new Option(`${one.name}: c${one.substage ?? one.stage}, ${one.confidence}`, one.place);
    option.selected = one.place === place;
    return option;
  }));
  fillRevision();
}

for (const stage of ["T1", "T2", "T3", "T4", "T4a", "T4b"]) part("revised-stage").append(new Option(`c${stage}`, stage));
part("revised").addEventListener("change", fillRevision);
part("revision-close").addEventListener("click", () => part("earlier-dialog").close());
part("earlier").addEventListener("click", () => {
  listRevisable();
  part("revision-status").textContent = "";
  part("earlier-dialog").showModal();
});
part("revision").addEventListener("submit", (event) => {
  event.preventDefault();
  const [stage, place] = [part("revised-stage").value, revised().place];
  const confidence = confidenceOf(part("revised-confidence").value);
  const tell = (text, wrong) => {
    part("revision-status").textContent = text;
    part("revision-status").classList.toggle("wrong", wrong);
  };
  if (confidence === undefined) return tell("Set the confidence, 0 to 100.", true);
  const answer = { stage: stage.slice(0, 2), substage: stage.length > 2 ? stage : null, confidence,
    remarks: part("revised-remarks").value };
  attempt(async () => {
    try {
      state = await ask("revise", { place, answer });
      listRevisable(place);
      tell("Changed. Both answers stand.", false);
    } catch (error) {
      if (error.stale) part("earlier-dialog").close();
      tell(error.message, true);
      throw error;
    }
  });
});

// -- the beginning

try {
  await viewer.start();
} catch (error) {
  failed = true;
  console.error(error);
  screen("The CT cannot be displayed", "This browser has no WebGL 2; expected it. Use a current Chrome, Edge, Firefox "
    + "or Safari on this machine.");
}
if (!failed) {
  await open();
  if (page === undefined) screen("Nothing to show", part("status").textContent, "Try again", open);
}
