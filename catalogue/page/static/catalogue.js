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
document.addEventListener("htmx:responseError", () => say("The server could not answer. Load the page again."));

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

// Keys: "/" to search, arrows from tile to tile, and what a link names in data-key.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, video, audio")) return;
  const named = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (named) {
    event.preventDefault();
    if (named.tagName === "A") named.click();
    else named.focus();
    return;
  }
  const tile = event.target.closest(".tile");
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
    if (!answer.ok) throw new Error(`${path}: the server refused it (${answer.status})`);
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

async function sendAll(files) {
  try {
    for (const file of files) await send(file, file.webkitRelativePath || file.name);
    location.assign(staging.dataset.done);
  } catch (error) {
    say(error.message);
  }
}

if (staging) {
  document.getElementById("files").addEventListener("change", (event) => sendAll([...event.target.files]));
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
    const files = [...event.dataTransfer.files];
    if (files.length) sendAll(files);
  });
}
