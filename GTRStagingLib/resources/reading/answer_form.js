// The form of an answer. A confidence that nobody has set is no number, and is not sent.

const STAGES = ["T1", "T2", "T3", "T4"];
const SUBSTAGES = ["T4a", "T4b"];
const part = (id) => document.getElementById(id);

/** Returns the number of a text from 0 to 100, else undefined. */
export const confidenceOf = (text) => (/^\d{1,3}$/.test(text.trim()) && Number(text) <= 100 ? Number(text) : undefined);

export class AnswerForm {
  #stage;
  #substage;

  constructor(onChange) {
    const choose = (values, within, chosen) => values.map((value) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = value.length === 2 ? `c${value}` : value;
      button.dataset.value = value;
      button.addEventListener("click", () => chosen(value));
      within.querySelector(".choices").append(button);
      return button;
    });
    this.onChange = onChange;
    this.stages = choose(STAGES, part("stages"), (value) => this.setStage(value));
    this.substages = choose(SUBSTAGES, part("substages"), (value) => this.setSubstage(value));
    part("confidence-slider").addEventListener("input", (event) => this.setConfidence(event.target.value));
    // Also without a change, since a touch of the lower end is an answer.
    part("confidence-slider").addEventListener("pointerup", (event) => this.setConfidence(event.target.value));
    part("confidence").addEventListener("input", (event) => this.setConfidence(event.target.value, false));
    part("remarks").addEventListener("input", () => this.onChange());
    this.clear();
  }

  clear() { this.fill({ stage: undefined, substage: undefined, confidence: undefined, remarks: "" }); }

  fill({ stage, substage, confidence, remarks }) {
    [this.#stage, this.#substage] = [stage ?? undefined, substage ?? undefined];
    part("remarks").value = remarks ?? "";
    part("confidence").value = confidence ?? "";
    part("confidence-slider").value = confidence ?? 0; // nothing that looks like a number
    part("confidence-slider").classList.toggle("unset", confidence === undefined);
    this.#draw();
  }

  setStage(stage) {
    this.#stage = stage;
    if (stage !== "T4") this.#substage = undefined;
    this.#draw();
    this.onChange();
  }

  setSubstage(substage) {
    if (this.#stage !== "T4") return;
    this.#substage = this.#substage === substage ? undefined : substage;
    this.#draw();
    this.onChange();
  }

  setConfidence(text, write = true) {
    const value = confidenceOf(text);
    if (write) part("confidence").value = text;
    part("confidence-slider").classList.toggle("unset", value === undefined);
    if (value !== undefined) part("confidence-slider").value = value;
    this.onChange();
  }

  #draw() {
    for (const button of this.stages) button.setAttribute("aria-pressed", button.dataset.value === this.#stage);
    for (const button of this.substages) button.setAttribute("aria-pressed", button.dataset.value === this.#substage);
    part("substages").disabled = this.#stage !== "T4";
    part("confidence-slider").setAttribute("aria-valuetext", part("confidence").value || "not set");
  }

  /** Returns the answer, or a sentence on what is missing. */
  read() {
    const confidence = confidenceOf(part("confidence").value);
    if (this.#stage === undefined) return { missing: "Choose a stage: keys 1 to 4." };
    if (confidence === undefined) return { missing: "Set the confidence, 0 to 100: key C." };
    return { answer: { stage: this.#stage, substage: this.#substage ?? null, confidence, remarks: part("remarks").value } };
  }
}
