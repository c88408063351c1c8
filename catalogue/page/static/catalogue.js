// What pages do beyond links and forms: copying, selecting, keys, uploads. Nothing here puts text into a page as HTML.
"use strict";

const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";
const said = document.getElementById("said");

function say(text) {
  said.textContent = text;
  said.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => said.classList.remove("shown"), 4000);
}

document.addEventListener("htmx:configRequest", (event) => {
  if (csrf) event.detail.headers["X-CSRF-Token"] = csrf;
});
// What went wrong is said beside what the page shows already: it stays, and the link in it asks again.
document.addEventListener("htmx:responseError", (event) => {
  const told = event.detail.xhr.getResponseHeader("x-penstock-error");
  say(told ? decodeURIComponent(told) : `The server could not answer (${event.detail.xhr.status}).`);
});
document.addEventListener("htmx:sendError", () => say("The server does not answer. Is it still running?"));
document.addEventListener("error", (event) => event.target.closest?.(".frame")?.classList.add("broken"), true);

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    try {
      await navigator.clipboard.writeText(copy.dataset.copy);
      say("Copied");
    } catch {
      const range = document.createRange();
      range.selectNodeContents(copy.previousElementSibling);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      say("Selected: copy it with the keyboard");
    }
  }
  const toggle = event.target.closest("[data-toggle]");
  if (toggle) {
    const shown = toggle.getAttribute("aria-pressed") !== "true";
    toggle.setAttribute("aria-pressed", String(shown));
    for (const each of document.querySelectorAll("." + toggle.dataset.toggle)) each.toggleAttribute("hidden", !shown);
  }
});

// Selecting: the actions are there while something is selected.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form.staging");
  if (form && event.target.name === "key") {
    const count = form.querySelectorAll('input[name="key"]:checked').length;
    form.querySelector("[data-selected]").textContent = String(count);
    form.querySelector(".actions").hidden = count === 0;
  }
});

// Keys: "/" to search, arrows from tile to tile, "x" selects one, "?" tells them; and what a link names in data-key.
const help = document.getElementById("keys");
document.addEventListener("keydown", (event) => {
  if (help?.open || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, video, audio")) return;
  const named = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (named) {
    event.preventDefault();
    if (named.tagName === "A") named.click();
    else named.focus();
    return;
  }
  if (event.key === "?") help?.showModal();
  const tile = event.target.closest(".tile");
  if (tile && event.key === "x") tile.querySelector("input[name=key]")?.click();
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(tile), ArrowUp: -columns(tile) }[event.key];
  if (!tile || !step) return;
  const tiles = [...tile.parentElement.querySelectorAll(".tile")];
  const next = tiles[tiles.indexOf(tile) + step];
  if (next) {
    event.preventDefault();
    next.querySelector("a").focus();
  }
});

function columns(tile) {
  if (!tile) return 1;
  const top = tile.offsetTop;
  const tiles = [...tile.parentElement.querySelectorAll(".tile")];
  const row = tiles.filter((each) => each.offsetTop === top);
  return row.length || 1;
}

// Uploads: in pieces, one file after the other; what was sent is staged, not committed.
const staging = document.querySelector("form.staging[data-upload]");
const piece = 8 << 20;

async function send(file, path) {
  const folder = staging.dataset.folder;
  const key = [folder, ...path.split("/").map(encodeURIComponent)].filter(Boolean).join("/");
  const join = staging.dataset.upload.includes("?") ? "&" : "?";
  let name = "";
  let at = 0;
  do {
    const part = file.slice(at, at + piece);
    const query = `path=${key}&offset=${at}&total=${file.size}&file=${name}`;
    const answer = await fetch(staging.dataset.upload + join + query, {
      method: "POST",
      body: part,
      headers: { "Content-Type": "application/octet-stream", ...(csrf ? { "X-CSRF-Token": csrf } : {}) },
    });
    if (!answer.ok) {
      const told = answer.headers.get("x-penstock-error");
      throw new Error(`${path}: ${told ? decodeURIComponent(told) : `the server refused it (${answer.status})`}`);
    }
    name = (await answer.json()).file;
    at += part.size;
    progress(at / Math.max(file.size, 1));
  } while (at < file.size);
}

function progress(value) {
  const bar = document.querySelector(".drop progress");
  bar.hidden = false;
  bar.value = value;
}

// Files that were dropped, and those in directories that were, each with its path.
async function filesBelow(entries) {
  const found = [];
  for (const entry of entries) {
    if (entry.isFile) {
      found.push([await new Promise((resolve, reject) => entry.file(resolve, reject)), entry.fullPath.slice(1)]);
      continue;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // 100 at a time
      if (!some.length) break;
      found.push(...(await filesBelow(some)));
    }
  }
  return found;
}

async function sendAll(files) {
  try {
    for (const [file, path] of files) await send(file, path);
    location.assign(staging.dataset.done);
  } catch (error) {
    say(error.message);
  }
}

if (staging) {
  document.getElementById("files").addEventListener("change", (event) => {
    sendAll([...event.target.files].map((file) => [file, file.webkitRelativePath || file.name]));
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const dropped = [...event.dataTransfer.items].map((each) => each.webkitGetAsEntry?.()).filter(Boolean);
    const files = [...event.dataTransfer.files];
    if (dropped.some((each) => each.isDirectory)) filesBelow(dropped).then(sendAll);
    else if (files.length) sendAll(files.map((file) => [file, file.name]));
  });
}
