"use strict";
// The course of the test: start, trials, end. Answers stay in this browser until the listener saves them as a file.

const Page = {
  material: window.LISTENING,
  trial: null,
  memory: {},

  begin() {
    if (!Page.material) {
      Page.draw("Nothing to listen to", [make("p", {}, "The sounds of this test have not been made. Build the book first: make book.")]);
      return;
    }
    Page.storageName = `envsound-listening-${Page.material.page}`;
    Page.state = Page.stored();
    Page.steps = Page.state ? Chance.order(Page.material.tasks, Page.state.seed) : [];
    if (Page.state?.finished) Page.end();
    else Page.start();
  },

  // What is kept in the browser

  stored() {
    try {
      const state = JSON.parse(localStorage.getItem(Page.storageName));
      return state?.page === Page.material.page && Array.isArray(state.answers) ? state : null;
    } catch {
      return null;
    }
  },

  keep() {
    try {
      localStorage.setItem(Page.storageName, JSON.stringify(Page.state));
    } catch {
      Page.say("This browser keeps nothing: please finish without closing the page.");
    }
  },

  erase() {
    try {
      localStorage.removeItem(Page.storageName);
    } catch { /* nothing was kept */ }
    Page.state = null;
    Page.start();
    Page.say("Everything is erased from this browser.");
  },

  // Screens

  say(words) {
    document.getElementById("status").textContent = words;
  },

  /** Replace the screen by a heading, content and buttons; submitted: called when the listener goes on. */
  draw(title, content, submit = "", submitted = () => {}, ...buttons) {
    Page.trial?.sounds.release();
    Page.trial = null;
    Page.say("");
    const heading = make("h1", {tabindex: "-1"}, title);
    const actions = make("div", {class: "actions"}, ...(submit ? [make("button", {type: "submit"}, submit)] : []), ...buttons);
    const form = make("form", {novalidate: true, submit: event => {
      event.preventDefault();
      submitted(form);
    }}, heading, ...content, actions);
    document.getElementById("screen").replaceChildren(form);
    document.title = `${title} · Masked decoding of environmental sound`;
    Page.showProgress();
    window.scrollTo(0, 0);
    heading.focus();
    return form;
  },

  showProgress() {
    const [done, all] = [Page.state?.answers.length ?? 0, Page.steps?.length ?? 0];
    const bar = document.getElementById("progress");
    bar.hidden = !Page.state || !all;
    bar.max = all || 1;
    bar.value = done;
    document.getElementById("count").textContent = bar.hidden ? "" : `${done} of ${all} answered`;
  },

  button(words, click) {
    return make("button", {type: "button", click}, words);
  },

  start() {
    Page.steps = Page.state ? Page.steps : [];
    const tasks = Page.material.tasks.map(({task, trials}) => make("li", {}, `${TASKS[task].title}: ${trials.length}`));
    const leftOut = Page.material.left_out.map(({task, why}) => make("p", {class: "left-out"}, `“${TASKS[task].title}” is left out. ${why}`));
    if (!tasks.length) {
      Page.draw("Nothing to listen to", leftOut);
      return;
    }
    const devices = [{value: "headphones", words: "headphones"}, {value: "loudspeakers", words: "loudspeakers"}];
    const content = [
      make("p", {}, `You will hear short everyday sounds and answer questions about them, for about ${Page.material.minutes} minutes. `
        + "A quiet room and headphones are best. Set a comfortable level before you begin and leave it."),
      make("ul", {}, ...tasks), ...leftOut,
      make("div", {class: "note"},
        make("p", {}, "Your answers stay in this browser. Nothing is sent anywhere. At the end you save them as a file on your own "
          + "machine, and it is up to you whom you give it."),
        make("p", {}, "The file holds your answers, how often you played each sound, when and how long you answered, the random order and "
          + "its seed, what you listen with if you say so, and a random name; nothing else about you or your machine. "
          + "By starting you agree that whoever you give it to may analyse it. You can stop at any time, and erase everything.")),
      choices("device", "I listen with (if you like to say)", "scale", devices),
      make("p", {class: "keys"}, "Everything works by mouse, by touch and by keyboard: Tab and arrow keys move, Space plays, Enter goes on."),
    ];
    const erase = Page.button("Erase my answers", Page.erase);
    if (Page.state) Page.draw("Welcome back", content, "Go on where you stopped", Page.proceed, erase);
    else Page.draw("Listening test", content, "Start", Page.enrol);
    if (Page.state) choose(document.querySelector("fieldset"), devices.findIndex(({value}) => value === Page.state.listening_with));
  },

  enrol(form) {
    Page.state = {
      format: Page.material.format, version: Page.material.version, page: Page.material.page,
      listener: Chance.name(), seed: Chance.seed(), listening_with: "", started: new Date().toISOString(), finished: null,
      order: [], answers: [],
    };
    Page.steps = Chance.order(Page.material.tasks, Page.state.seed);
    Page.state.order = Page.steps.map(({task, item, versions}) => ({task, item, ...(versions ? {versions} : {})}));
    Page.proceed(form);
  },

  proceed(form) {
    Page.state.listening_with = chosen(form.querySelector("fieldset"))?.value ?? "";
    Page.keep();
    Page.introduce();
  },

  /** Show the next trial, after an introduction where a task begins. */
  introduce(again = true) {
    const place = Page.state.answers.length;
    const step = Page.steps[place];
    if (!step) {
      Page.finish();
    } else if (again || step.task !== Page.steps[place - 1].task) {
      const {title, words} = TASKS[step.task];
      Page.draw(title, words.map(text => make("p", {}, text)), "Begin", () => Page.ask(step));
    } else {
      Page.ask(step);
    }
  },

  ask(step) {
    const trial = new TASKS[step.task].view(step, Page.say);
    const keys = make("p", {class: "keys"}, trial.keys);
    const save = Page.button("Save what I have so far", Page.save);
    const began = performance.now();
    Page.draw(trial.title, [...trial.body, keys], "Next", () => Page.take(trial, began), save);
    Page.trial = trial;
  },

  take(trial, began) {
    const missing = trial.missing();
    if (missing) {
      Page.say(missing.words);
      missing.element.focus();
      return;
    }
    const seconds = Math.round(performance.now() - began) / 1000;
    Page.state.answers.push({...trial.answer(), at: new Date().toISOString(), seconds});
    Page.keep();
    Page.introduce(false);
  },

  finish() {
    Page.state.finished = new Date().toISOString();
    Page.keep();
    Page.end();
  },

  end() {
    const content = [
      make("p", {}, "That was all. Save your answers as a file and give it to whoever asked you; nothing has been sent."),
      make("p", {}, "The file's name is ", make("code", {}, Page.fileName()), "."),
    ];
    Page.draw("Thank you", content, "Save my answers", Page.save, Page.button("Erase my answers", Page.erase));
  },

  // The file

  fileName() {
    return `envsound-listening-${Page.state.listener}.json`;
  },

  save() {
    const text = `${JSON.stringify(Page.state, null, 2)}\n`;
    const address = URL.createObjectURL(new Blob([text], {type: "application/json"}));
    make("a", {href: address, download: Page.fileName()}).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
    Page.say("Saved: look among your downloads.");
  },

  // Keys that work wherever the focus is

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const {target, key} = event;
    const onControl = target.closest("button, a");
    const form = document.querySelector("#screen form");
    if (key === "Enter" && !onControl && form?.querySelector("[type=submit]")) form.requestSubmit();
    else if (!Page.trial) return;
    else if (key === " " && !onControl && !(target.type === "radio" && !target.checked)) Page.trial.sounds.toggle(Page.trial.soundAt(target));
    else if (/^[0-9]$/.test(key)) Page.trial.digit(Number(key), target);
    else if (key.toLowerCase() === "r") Page.trial.sounds.toggle(Page.trial.trial.item);
    else return;
    event.preventDefault();
  },
};

document.addEventListener("keydown", Page.key);
Page.begin();
