"use strict";
// Random order that can be told again: everything follows from the listener's seed.

const Chance = {
  /** A new seed, an integer of 32 bits. */
  seed() {
    return crypto.getRandomValues(new Uint32Array(1))[0];
  },

  /** A random name of 12 hexadecimal digits. */
  name() {
    return Array.from(crypto.getRandomValues(new Uint8Array(6)), byte => byte.toString(16).padStart(2, "0")).join("");
  },

  /** A function that returns numbers in [0, 1) which follow from the seed: a Weyl sequence, mixed (splitmix32). */
  stream(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x9e3779b9) >>> 0;
      let mixed = state ^ (state >>> 16);
      mixed = Math.imul(mixed, 0x21f0aaad);
      mixed ^= mixed >>> 15;
      mixed = Math.imul(mixed, 0x735a2d97);
      mixed ^= mixed >>> 15;
      return (mixed >>> 0) / 4294967296;
    };
  },

  /** A shuffled copy (Fisher and Yates). */
  shuffled(items, random) {
    const mixed = [...items];
    for (let last = mixed.length - 1; last > 0; last -= 1) {
      const other = Math.floor(random() * (last + 1));
      [mixed[last], mixed[other]] = [mixed[other], mixed[last]];
    }
    return mixed;
  },

  /** All trials in this listener's order: tasks in turn, their trials and the versions within a trial shuffled. */
  order(tasks, seed) {
    const random = Chance.stream(seed);
    return tasks.flatMap(task => Chance.shuffled(task.trials, random).map(trial => ({
      ...trial,
      task: task.task,
      categories: task.categories,
      ...(trial.versions ? {versions: Chance.shuffled(trial.versions, random)} : {}),
    })));
  },
};
