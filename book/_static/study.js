// Sounds: a spectrogram plays when it is pressed, one sound at a time. Tables: a press on a heading sorts them.
// No library and no network. Without this script sounds keep the browser's player, and tables their order.
(() => {
  document.addEventListener("play", (event) => {
    for (const audio of document.querySelectorAll("audio")) {
      if (audio !== event.target && !audio.paused) {
        audio.pause();
        audio.currentTime = 0;
      }
    }
  }, true); // play does not bubble

  function makeButton(box) {
    const audio = box.parentElement.querySelector("audio");
    const button = document.createElement("button");
    const cursor = document.createElement("span");
    button.type = "button";
    button.className = "play";
    button.setAttribute("aria-label", `Play: ${box.dataset.name}`);
    button.setAttribute("aria-pressed", "false");
    cursor.className = "cursor";
    button.append(...box.childNodes, cursor);
    box.append(button);
    audio.controls = false;
    button.addEventListener("click", () => (audio.paused ? audio.play().catch(() => {}) : audio.pause()));
    for (const type of ["play", "pause", "ended", "timeupdate", "seeked"]) {
      audio.addEventListener(type, () => {
        button.setAttribute("aria-pressed", String(!audio.paused));
        cursor.style.left = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
      });
    }
  }

  // The number a cell begins with: "1,234", "-0.5 (…)", "12%", "≤ 3"; undefined for words and for "–".
  function numberIn(text) {
    const found = text.replace(/,(?=\d{3})/g, "").replace("−", "-").match(/^[<>≤≥]?\s*([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)/i);
    return found ? Number(found[1]) : undefined;
  }

  function compare(a, b) {
    const [x, y] = [numberIn(a), numberIn(b)];
    if (x !== undefined && y !== undefined) return x - y;
    if (x !== undefined || y !== undefined) return x !== undefined ? -1 : 1; // numbers before words
    return a.localeCompare(b);
  }

  function makeSortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (!head.innerText.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        const text = (row) => row.cells[column]?.innerText.trim() ?? "";
        const rows = [...table.tBodies[0].rows].sort((a, b) => (down ? -1 : 1) * compare(text(a), text(b)));
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        table.tBodies[0].append(...rows);
      });
    });
  }

  window.addEventListener("beforeprint", () => {
    for (const box of document.querySelectorAll("article details")) box.open = true; // paper cannot be unfolded
  });

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("figure.sound .spectrogram").forEach(makeButton);
    for (const table of document.querySelectorAll("article .wide-table table")) {
      if (table.tHead && table.tBodies[0]?.rows.length > 2) makeSortable(table);
    }
  });
})();
