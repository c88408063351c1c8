// Frame n of a video, as this browser goes to it, beside frame n as the decoder counts it.
//
// Colours differ a little from decoder to decoder, so frames are not held against a bound alone: a frame is the right
// one unless one of its neighbours, which the server sends along, is closer to what the browser shows.
"use strict";

const check = document.querySelector(".check");
const video = document.querySelector(".viewer video");
const [shown, decoded] = check.querySelectorAll("canvas");
const verdicts = check.querySelector(".verdicts");
const small = { width: 64, height: 36 };
const closer = 0.8;
const far = 24;

function once(target, name, milliseconds) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("this browser cannot play the video")), milliseconds);
    target.addEventListener(name, () => (clearTimeout(late), resolve()), { once: true });
    target.addEventListener("error", () => (clearTimeout(late), reject(new Error("this browser cannot play the video"))), { once: true });
  });
}

async function decoder(number) {
  const answer = await fetch(`${check.dataset.frames}&frame=${number}`);
  if (!answer.ok) throw new Error(`the server refused frame ${number} (${answer.status})`);
  return answer.json();
}

async function strip(found) {
  const image = new Image();
  image.src = found.image;
  await image.decode();
  return image;
}

async function browser(number, rate) {
  if (video.readyState < 1) {
    video.load();
    await once(video, "loadedmetadata", 30000);
  }
  const time = Math.min((number + 0.5) / rate, Math.max(0, video.duration - 0.001));
  const there = once(video, "seeked", 30000);
  video.currentTime = time;
  await there;
  if (video.readyState < 2) await once(video, "canplay", 30000);
  // What is drawn right after a seek may be the frame before it: wait until the new one was put on the screen.
  await Promise.race([
    new Promise((resolve) => (video.requestVideoFrameCallback ? video.requestVideoFrameCallback(resolve) : resolve())),
    new Promise((resolve) => setTimeout(resolve, 400)),
  ]);
  return number / rate >= video.duration ? null : video;
}

function sample(source, x, y, width, height) {
  const canvas = new OffscreenCanvas(small.width, small.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, x, y, width, height, 0, 0, small.width, small.height);
  const { data } = context.getImageData(0, 0, small.width, small.height);
  return Float32Array.from({ length: data.length / 4 }, (_, at) => 0.299 * data[4 * at] + 0.587 * data[4 * at + 1] + 0.114 * data[4 * at + 2]);
}

function distance(one, other) {
  let sum = 0;
  for (let at = 0; at < one.length; at++) sum += Math.abs(one[at] - other[at]);
  return sum / one.length;
}

function draw(canvas, source, x, y, width, height) {
  canvas.width = 320;
  canvas.height = Math.round((320 * height) / width);
  canvas.getContext("2d").drawImage(source, x, y, width, height, 0, 0, canvas.width, canvas.height);
}

async function compare(number) {
  const found = await decoder(number);
  const rate = found.fps || Number(check.dataset.rate);
  if (!rate) return { text: `Frame ${number}: the video does not say its rate, so a browser cannot go to it.`, same: false };
  if (!found.image) {
    const text = found.counted === undefined ? found.note : `${found.note}, its header says ${found.frames || "nothing"}`;
    return { text: `Frame ${number}: ${text}.`, same: !found.frames || found.counted >= found.frames || found.frames <= number };
  }
  const image = await strip(found);
  const place = number - found.first;
  const source = await browser(number, rate);
  check.querySelector(".sides").hidden = false;
  draw(decoded, image, 0, place * found.height, found.width, found.height);
  if (!source) return { text: `Frame ${number}: for this browser the video has ended before it.`, same: false };
  draw(shown, source, 0, 0, source.videoWidth, source.videoHeight);
  const own = sample(source, 0, 0, source.videoWidth, source.videoHeight);
  const distances = Array.from({ length: found.count }, (_, at) => distance(own, sample(image, 0, at * found.height, found.width, found.height)));
  const nearest = distances.indexOf(Math.min(...distances));
  const here = distances[place];
  if (nearest !== place && here > 1 && distances[nearest] < closer * here) {
    return { text: `Frame ${number}: this browser shows frame ${found.first + nearest}.`, same: false };
  }
  if (here > far) return { text: `Frame ${number}: this browser shows another frame.`, same: false };
  return { text: `Frame ${number}: the same.`, same: true, frames: found.frames };
}

async function compareAll(numbers) {
  const buttons = check.querySelectorAll("button");
  for (const each of buttons) each.disabled = true;
  verdicts.replaceChildren();
  let differ = false;
  for (const number of numbers) {
    const line = document.createElement("li");
    line.textContent = `Frame ${number}: …`;
    verdicts.append(line);
    try {
      const verdict = await compare(number);
      line.textContent = verdict.text;
      line.className = verdict.same ? "added" : "deleted";
      differ ||= !verdict.same;
    } catch (error) {
      line.textContent = `Frame ${number}: ${error.message}.`;
      line.className = "deleted";
      differ ||= error.message.includes("cannot play");
    }
  }
  check.querySelector(".offer").hidden = !differ;
  for (const each of buttons) each.disabled = false;
}

check.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  compareAll([Number(document.getElementById("number").value)]);
});
check.querySelector("[data-several]").addEventListener("click", async () => {
  let frames = 0;
  try {
    const first = await decoder(0);
    frames = first.frames || Math.floor((video.duration || 0) * (first.fps || 0));
  } catch {
    frames = 0; // said with the first frame
  }
  const last = Math.min(Math.max(frames - 1, 0), 6000);
  compareAll([...new Set([0, 1, Math.floor(last / 3), Math.floor((2 * last) / 3), last])]);
});
