"use strict";
// What a trial of each task looks like, what keys do in it, and what is still missing.

/** A new element with attributes (functions become listeners) and children. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

class Trial {
  constructor(trial, say) {
    this.trial = trial;
    this.say = say;
    this.buttons = {};
    this.body = [];
  }

  /** A button that plays a sound. */
  playButton(id, words) {
    this.buttons[id] = {button: make("button", {type: "button", class: "play", click: () => this.sounds.toggle(id)}), words};
    return this.buttons[id].button;
  }

  load(ids, together = false) {
    this.ids = ids;
    this.sounds = new Sounds(ids, together, () => this.show());
    this.show();
  }

  show() {
    if (!this.sounds) return;
    for (const [id, {button, words}] of Object.entries(this.buttons)) {
      const playing = this.sounds.current === id;
      const heard = this.sounds.plays[id] ? ", heard" : "";
      button.classList.toggle("playing", playing);
      button.textContent = this.sounds.failed.has(id) ? `${words}: cannot be played` : `${playing ? "■ Stop" : "▶ Play"} ${words}`;
      button.setAttribute("aria-label", `${playing ? "Stop" : "Play"} ${words}${heard}`);
    }
    if (this.sounds.failed.size) this.say("A sound cannot be played. Go on with Next; this trial does not count.");
  }

  /** The sound that the space bar plays when `target` has the focus. */
  soundAt() {
    return this.ids[0];
  }

  /** What is missing, as {words, element}; nothing when the trial can be left. */
  missing() {
    if (this.sounds.failed.size) return null;
    const unheard = this.ids.find(id => !this.sounds.done(id));
    if (unheard) return {words: `Listen to ${this.buttons[unheard].words} first.`, element: this.buttons[unheard].button};
    return this.unanswered();
  }

  answer() {
    const {task, item} = this.trial;
    if (this.sounds.failed.size) return {task, item, failed: true};
    return {task, item, ...this.given(), plays: this.sounds.plays};
  }
}

/** A group of radio buttons with a legend; values: [{value, words, key}]. */
function choices(name, legend, kind, values, ...more) {
  const labels = values.map(({value, words, key}) => make(
    "label", {}, make("input", {type: "radio", name, value}), words, ...(key ? [make("kbd", {"aria-hidden": "true"}, key)] : []),
  ));
  return make("fieldset", {}, make("legend", {}, legend), make("div", {class: kind}, ...labels), ...more);
}

const chosen = group => group.querySelector("input:checked");

function choose(group, place) {
  const input = group.querySelectorAll("input")[place];
  if (input) input.checked = true;
  return input;
}

/** A slider from 0 to `most` that counts once it was touched, with an output of what it says. */
function dial(label, most, value) {
  const output = make("output", {}, "not yet");
  const slider = make("input", {type: "range", min: 0, max: most, step: 1, value, "aria-label": label});
  const row = {slider, output, rated: false};
  row.rate = () => {
    row.rated = true;
    output.textContent = slider.value;
    slider.setAttribute("aria-valuetext", slider.value);
  };
  slider.setAttribute("aria-valuetext", "not rated yet");
  for (const kind of ["input", "change", "pointerup"]) slider.addEventListener(kind, row.rate);
  return row;
}

class LabelTrial extends Trial {
  constructor(trial, say) {
    super(trial, say);
    this.title = "What do you hear?";
    this.keys = "Space plays; 1 to 9 and 0 choose the first ten answers, arrow keys any; Enter goes on.";
    const values = trial.categories.map(({id, words}, place) => ({value: id, words, key: place < 10 ? String((place + 1) % 10) : ""}));
    this.group = choices("answer", "The sound is most like", "options", values);
    this.body = [this.playButton(trial.item, "the sound"), this.group];
    this.load([trial.item]);
  }

  digit(digit) {
    const input = choose(this.group, (digit + 9) % 10);
    if (input) this.say(`Chosen: ${this.trial.categories[(digit + 9) % 10].words}`);
  }

  unanswered() {
    return chosen(this.group) ? null : {words: "Choose an answer; guess if you must.", element: this.group.querySelector("input")};
  }

  given() {
    return {answer: chosen(this.group).value};
  }
}

class FitTrial extends Trial {
  constructor(trial, say) {
    super(trial, say);
    this.title = `This should be: ${trial.asked}`;
    this.keys = "Space plays; 1 to 9, and 0 for 10, answer the first open question or the one in focus; Enter goes on.";
    const values = Array.from({length: 10}, (_, place) => ({value: place + 1, words: String(place + 1), key: ""}));
    const ends = words => make("div", {class: "ends"}, words);
    this.groups = {
      quality: choices("quality", "How good is the sound, whatever it is?", "scale", values, ends("1 very bad, 10 as good as a good recording")),
      fit: choices("fit", `How well does it fit “${trial.asked}”?`, "scale", values, ends("1 not at all, 10 perfectly")),
    };
    this.body = [this.playButton(trial.item, "the sound"), ...Object.values(this.groups)];
    this.load([trial.item]);
  }

  digit(digit, target) {
    const all = Object.values(this.groups);
    const group = all.find(one => one.contains(target)) ?? all.find(one => !chosen(one));
    if (!group) return this.say("Both are answered. Press Tab to reach one of them and change it.");
    const input = choose(group, (digit + 9) % 10);
    return this.say(`${group === this.groups.fit ? "Fit" : "Quality"}: ${input.value}`);
  }

  unanswered() {
    const open = Object.values(this.groups).find(group => !chosen(group));
    return open ? {words: "Both questions need an answer.", element: open.querySelector("input")} : null;
  }

  given() {
    return Object.fromEntries(Object.entries(this.groups).map(([name, group]) => [name, Number(chosen(group).value)]));
  }
}

const EMOTIONS = ["happiness", "sadness", "fear", "anger"];

class MatchTrial extends Trial {
  constructor(trial, say) {
    super(trial, say);
    this.title = "Which text was the sound made after?";
    this.keys = "Space plays; 1 to 3 choose a text, then 0 to 9 the quality; Tab moves on; arrow keys move a slider, and a "
      + "number key sets it; Enter goes on.";
    this.texts = choices("text", "It was made after", "options", trial.texts.map((words, place) => ({value: words, words, key: String(place + 1)})));
    const values = Array.from({length: 11}, (_, place) => ({value: place, words: String(place), key: ""}));
    this.quality = choices("quality", "How good is the sound?", "scale", values, make("div", {class: "ends"}, "0 very bad, 10 as good as a good recording"));
    this.rows = EMOTIONS.map(emotion => this.row(emotion));
    this.body = [this.playButton(trial.item, "the sound"), this.texts, this.quality, make("p", {}, "How much of each does it express? 0 is nothing, 10 very much."),
      ...this.rows.map(row => row.element)];
    this.load([trial.item]);
  }

  row(emotion) {
    const row = Object.assign(dial(`${emotion}, 0 nothing to 10 very much`, 10, 0), {emotion});
    row.element = make("div", {class: "version"}, make("span", {}, emotion), row.slider, row.output);
    return row;
  }

  digit(digit, target) {
    const row = this.rows.find(one => one.element.contains(target));
    if (row) {
      row.slider.value = digit;
      row.rate();
      return this.say(`${row.emotion}: ${row.slider.value}`);
    }
    const first = !chosen(this.texts) && !this.quality.contains(target);
    const input = first || this.texts.contains(target) ? choose(this.texts, digit - 1) : choose(this.quality, digit);
    return this.say(input ? `Chosen: ${input.value}` : "There are three texts.");
  }

  unanswered() {
    if (!chosen(this.texts)) return {words: "Choose a text; guess if you must.", element: this.texts.querySelector("input")};
    if (!chosen(this.quality)) return {words: "Say how good the sound is.", element: this.quality.querySelector("input")};
    const open = this.rows.find(row => !row.rated);
    return open ? {words: `Set ${open.emotion}; 0 is an answer.`, element: open.slider} : null;
  }

  given() {
    const felt = Object.fromEntries(this.rows.map(row => [row.emotion, Number(row.slider.value)]));
    return {answer: chosen(this.texts).value, quality: Number(chosen(this.quality).value), ...felt};
  }
}

class CodecTrial extends Trial {
  constructor(trial, say) {
    super(trial, say);
    this.title = "How close is each version to the reference?";
    this.keys = "Space plays the version in focus, or the reference; R plays the reference; Tab moves on; arrow keys move a slider by 1, "
      + "Page Up and Page Down by more, End sets 100, and a number key sets ten times the number; Enter goes on.";
    this.rows = trial.versions.map((id, place) => this.row(id, String.fromCharCode(65 + place)));
    const words = ["bad", "poor", "fair", "good", "excellent"].map(word => make("span", {}, word));
    this.body = [
      make("p", {}, this.playButton(trial.item, "reference")),
      make("p", {}, "One of the versions is the reference itself and belongs at 100. Compare as often as you like."),
      make("div", {class: "words", "aria-hidden": "true"}, make("div", {}, ...words)),
      ...this.rows.map(row => row.element),
    ];
    this.load([trial.item, ...trial.versions], true);
  }

  row(id, letter) {
    const row = Object.assign(dial(`Version ${letter}, 0 bad to 100 excellent`, 100, 50), {id, letter});
    row.element = make("div", {class: "version"}, this.playButton(id, letter), row.slider, row.output);
    return row;
  }

  rowAt(target) {
    return this.rows.find(row => row.element.contains(target));
  }

  soundAt(target) {
    return this.rowAt(target)?.id ?? this.trial.item;
  }

  digit(digit, target) {
    const row = this.rowAt(target);
    if (!row) return this.say("Press Tab to reach a version, then rate it.");
    row.slider.value = 10 * digit;
    row.rate();
    return this.say(`${row.letter}: ${row.slider.value}`);
  }

  unanswered() {
    const open = this.rows.find(row => !row.rated);
    return open ? {words: `Rate version ${open.letter}.`, element: open.slider} : null;
  }

  given() {
    return {ratings: Object.fromEntries(this.rows.map(row => [row.id, Number(row.slider.value)]))};
  }
}

const TASKS = {
  label: {
    view: LabelTrial,
    title: "Name the sound",
    words: ["You hear one sound at a time and choose what it is most like. Some sounds are recordings, others were made by a computer.",
      "There is always one answer to choose. If you are not sure, guess."],
  },
  fit: {
    view: FitTrial,
    title: "Quality and fit",
    words: ["Now you are told what a sound should be. Say how good it sounds, and how well it fits what it should be, from 1 to 10.",
      "The two are different: a clean recording of a cat is good sound, and does not fit “dog”."],
  },
  match: {
    view: MatchTrial,
    title: "Sound and text",
    words: ["Each of these sounds was made by a computer after a short text. You read three texts and choose the one that it was made after; guess if you must.",
      "Then say how good the sound is, and how much happiness, sadness, fear and anger it expresses, from 0 to 10."],
  },
  codec: {
    view: CodecTrial,
    title: "Versions of a sound",
    words: ["You hear a reference and several versions of it. Rate how close each version comes to the reference: "
      + "100 is no difference at all, 0 is as bad as can be.",
      "Sounds repeat until you stop them, and a version goes on where the last one was, so that you can switch and compare."],
  },
};
