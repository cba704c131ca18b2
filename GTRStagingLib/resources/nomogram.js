"use strict";
// Updates the sections that nomogram/page.py wrote. The page contains the model and all sentences. Each change also
// dispatches an event "reading"; its detail is the result of Nomogram.read.

const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

// A number with a point or a decimal comma, as entered_number in nomogram/terms.py. A browser's own field for numbers
// drops a comma that its language does not use, so that 0,8 becomes 8.
const isNumber = (text) => /^[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?$/.test(text);
const hasThousands = (text) => /^[+-]?[1-9]\d{0,2},\d{3}$/.test(text);
const enteredNumber = (text) => {
  const plain = text.trim().replaceAll("−", "-");
  const value = isNumber(plain) && !hasThousands(plain) ? Number(plain.replace(",", ".")) : undefined;
  return Number.isFinite(value) ? value : undefined;
};

/** Values are in the order of the terms, undefined for a missing one; then the result has no probabilities. */
function readNomogram(model, values) {
  const factors = model.terms.map((term, i) => {
    const value = values[i];
    if (value === undefined) return null;
    const out = value === model.reference;
    const weight = out ? term.left_out : term.levels ? term.levels[value] : term.coefficient * value;
    const points = (weight - term.lowest) * model.points_per_unit;
    return { out, weight, points, contribution: out ? 0 : weight - term.typical };
  });
  const labels = (chosen) => model.terms.filter((term, i) => chosen(factors[i])).map((term) => term.label).join(", ");
  const sum = (key) => factors.reduce((total, factor) => total + factor[key], 0);
  const missing = labels((factor) => factor === null);
  const leftOut = labels((factor) => factor?.out);
  const warnings = leftOut ? [model.words.left_out.replace("{}", leftOut)] : [];
  model.terms.forEach((term, i) => {
    if (factors[i] && !factors[i].out && !term.levels && (values[i] < term.range[0] || values[i] > term.range[1]))
      warnings.push(term.outside.replace("{}", values[i]));
  });
  if (missing) return { factors, missing, warnings };
  const linearPredictor = sum("weight");
  const below = model.thresholds.map((theta) => sigmoid(theta - linearPredictor));
  const above = sigmoid(linearPredictor - model.thresholds[2]);
  return {
    factors, missing, warnings, linearPredictor, points: sum("points"), contribution: sum("contribution"),
    probabilities: [below[0], below[1] - below[0], below[2] - below[1], above],
  };
}

// -- formats of numbers, as in nomogram/page.py

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const plain = (x) => String(Number(x.toPrecision(6))).replace("-", "−");
const signed = (x) => {
  const text = Math.abs(x).toFixed(2);
  return Number(text) === 0 ? text : (x < 0 ? "−" : "+") + text;
};
const ratio = (x, most) => (Math.abs(x) <= most ? Math.exp(x).toPrecision(3) : x < 0 ? "<0.001" : ">990");

// -- the page

function connectNomogram(root) {
  const part = (name, within = root) => within.querySelector(`[data-part="${name}"]`);
  const put = (text, name, within = root) => { part(name, within).textContent = text; };
  const model = JSON.parse(part("model").textContent);
  const form = part("controls");
  const fields = [...form.querySelectorAll("[data-factor]")];
  const rows = [...root.querySelectorAll("tr[data-row]")];
  const shares = [...root.querySelectorAll("td[data-share]")];
  const odds = (x) => `${signed(x)} · ×${ratio(x, model.most)}`;
  let written = null;

  const taken = (term, field) => {
    if (term.levels) return part("level", field).value || undefined;
    if (part("out", field).checked) return model.reference;
    const number = enteredNumber(part("number", field).value);
    return number >= term.limits[0] && number <= term.limits[1] ? number : undefined;
  };

  // A text that is not taken counts as a missing value.
  const isRefused = (term, field) =>
    !term.levels && taken(term, field) === undefined && part("number", field).value.trim() !== "";

  const summary = ({ probabilities, points }, best) => model.words.summary.replace("{stage}", model.stages[best])
    .replace("{shares}", probabilities.map((share, k) => `${model.stages[k]} ${percent(share)}`).join(", "))
    .replace("{points}", points.toFixed(1));

  const showControls = (term, field, value) => {
    if (term.levels) return;
    const [number, slider] = [part("number", field), part("slider", field)];
    const given = typeof value === "number";
    number.disabled = slider.disabled = value === model.reference;
    const refused = isRefused(term, field);
    number.setAttribute("aria-invalid", refused);
    part("refused", field).hidden = !refused;
    put(refused ? `${term.label} ${number.value.trim()}; ${term.expected}` : "", "refused", field);
    slider.classList.toggle("unset", !given);
    slider.setAttribute("aria-valuetext", given ? `${plain(value)} ${term.unit}`.trim() : model.words.not_given);
    if (given) slider.value = value;
  };

  const showFactor = (term, field, row, value, factor) => {
    const none = isRefused(term, field) ? model.words.not_accepted : model.words.not_given;
    const text = !factor ? none : factor.out ? model.words.out : term.levels ? value : plain(value);
    put(factor && !factor.out && term.unit ? `${text} ${term.unit}` : text, "value", row);
    put(factor ? factor.points.toFixed(1) : "–", "points", row);
    put(factor ? odds(factor.contribution) : "–", "odds", row);
    const length = factor ? Math.max(-1, Math.min(1, factor.contribution / (model.widest || 1))) : 0;
    part("bar", row).setAttribute("x", (50 + 50 * Math.min(0, length)).toFixed(2));
    part("bar", row).setAttribute("width", (50 * Math.abs(length)).toFixed(2));
  };

  const update = () => {
    const values = model.terms.map((term, i) => taken(term, fields[i]));
    const reading = readNomogram(model, values);
    model.terms.forEach((term, i) => {
      showControls(term, fields[i], values[i]);
      showFactor(term, fields[i], rows[i], values[i], reading.factors[i]);
    });
    const { probabilities } = reading;
    const best = probabilities ? probabilities.indexOf(Math.max(...probabilities)) : -1;
    shares.forEach((cell, k) => {
      put(probabilities ? percent(probabilities[k]) : "–", "percent", cell);
      part("bar", cell).setAttribute("width", (probabilities ? 100 * probabilities[k] : 0).toFixed(2));
    });
    put(probabilities ? model.stages[best] : model.words.not_shown, "stage");
    put(probabilities ? reading.points.toFixed(1) : "–", "total-points");
    put(probabilities ? odds(reading.contribution) : "–", "total-odds");
    const refused = model.terms.filter((term, i) => isRefused(term, fields[i])).map((term) => term.label).join(", ");
    const toDo = refused ? model.words.refused.replace("{}", refused)
      : model.words.missing.replace("{}", reading.missing);
    put(probabilities ? summary(reading, best) : toDo, "summary");
    const sentences = reading.warnings.map((sentence) => {
      const item = document.createElement("li");
      item.textContent = sentence;
      return item;
    });
    part("warnings").replaceChildren(...sentences);
    const now = JSON.stringify(values);
    written ??= now;
    part("changed").hidden = now === written;
    root.dispatchEvent(new CustomEvent("reading", { detail: { ...reading, values } }));
  };

  form.addEventListener("input", (event) => {
    if (event.target.dataset.part === "slider")
      part("number", event.target.closest("[data-factor]")).value = event.target.value;
    update();
  });
  form.addEventListener("reset", () => setTimeout(update)); // the controls change after this event
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  root.classList.add("live");
  update();
}

document.querySelectorAll(".nomogram").forEach(connectNomogram);
