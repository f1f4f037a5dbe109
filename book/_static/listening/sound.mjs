"use strict";
// Playing the sounds of one trial, one at a time.

class Sounds {
  /**
   * ids: the sounds of the trial. together: all are versions of one clip, so that one goes on where another was left,
   * and starts again at its end. changed: called whenever something begins or stops to play, or fails.
   */
  constructor(ids, together, changed) {
    this.together = together;
    this.changed = changed;
    this.current = null;
    this.plays = Object.fromEntries(ids.map(id => [id, 0]));
    this.failed = new Set();
    this.audio = Object.fromEntries(ids.map(id => [id, this.load(id)]));
  }

  load(id) {
    const audio = new Audio();
    audio.preload = "auto";
    audio.loop = this.together;
    audio.addEventListener("error", () => this.fail(id));
    audio.addEventListener("ended", () => this.stop());
    audio.src = `../generated/listening/sounds/${id}.wav`;
    return audio;
  }

  fail(id) {
    this.failed.add(id);
    this.changed();
  }

  /** Play a sound, or stop it when it is playing. */
  async toggle(id) {
    const before = this.current;
    const from = this.together && before ? this.audio[before].currentTime : 0;
    this.stop();
    if (before === id) return;
    this.current = id;
    this.audio[id].currentTime = from;
    this.changed();
    try {
      await this.audio[id].play();
      this.plays[id] += 1;
    } catch (error) {
      if (error.name === "NotSupportedError") this.fail(id);
      if (error.name !== "AbortError" && this.current === id) this.stop(); // aborted: another was asked for meanwhile
    }
    this.changed();
  }

  stop() {
    if (this.current) this.audio[this.current].pause();
    this.current = null;
    this.changed();
  }

  /** Whether a sound was heard, or cannot be. */
  done(id) {
    return this.plays[id] > 0 || this.failed.has(id);
  }

  /** Stop, and let go of the files. */
  release() {
    this.changed = () => {};
    this.stop();
    Object.values(this.audio).forEach(audio => audio.removeAttribute("src"));
  }
}
