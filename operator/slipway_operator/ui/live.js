"use strict";
// Reads the same page again and puts its main part in the place of the old one. Nothing that was
// read is run: the parser makes no scripts run, and the policy of the page allows none of them.
const PAUSE_MS = 2000;

function tell(text) {
  document.getElementById("connection").textContent = text;
}

async function renew() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { cache: "no-store" });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const main = fresh.querySelector("main");
  if (!answer.ok || main === null) throw new Error(String(answer.status));
  // What is the same stays: a click, or a selection of text, is not lost for nothing.
  const shown = document.querySelector("main");
  if (!shown.isEqualNode(main)) shown.replaceWith(main);
}

async function forEver() {
  try {
    await renew();
    tell("");
  } catch (error) {
    tell("no answer, looking again");
  }
  setTimeout(forEver, PAUSE_MS);
}

setTimeout(forEver, PAUSE_MS);
