// Renders /openapi.json. Names come from a model's file: they are set as text, never as HTML.
"use strict";

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

const pretty = (value) => {
  const text = JSON.stringify(value, null, 2);
  // Numbers of a tensor in one line: one each would fill the page.
  return text.replace(/\[\s+([^[\]{}]+?)\s+\]/g, (_, inner) => `[${inner.split(/,\s+/).join(", ")}]`);
};

const valueOf = (parameter) => (parameter.schema.enum || [""])[0];

const filled = (path, parameters) =>
  path.replace(/\{(\w+)\}/g, (_, name) =>
    encodeURIComponent(valueOf(parameters.find((each) => each.name === name))));

async function send(verb, path, body, output) {
  output.textContent = "Waiting…";
  const begun = performance.now();
  try {
    const answer = await fetch(path, { method: verb, body: body === null ? undefined : body });
    const text = await answer.text();
    const took = Math.round(performance.now() - begun);
    let shown = text;
    try { shown = pretty(JSON.parse(text)); } catch { /* no JSON */ }
    output.textContent = `${answer.status} ${answer.statusText}, ${took} ms\n\n${shown}`;
  } catch (error) {
    output.textContent = `No answer: ${error.message}`;
  }
}

function operation(verb, path, described) {
  const parameters = described.parameters || [];
  const target = filled(path, parameters);
  const content = described.requestBody && described.requestBody.content["application/json"];
  const hasBody = verb === "POST";
  const input = make("textarea", {
    value: content && content.example ? pretty(content.example) : hasBody ? "{}" : "",
    spellcheck: false,
  });
  input.setAttribute("aria-label", "Body of the request");
  const output = make("pre", { hidden: true });
  output.setAttribute("role", "status");
  const button = make("button", { textContent: "Send" });
  button.onclick = () => {
    output.hidden = false;
    send(verb, target, hasBody ? input.value : null, output);
  };
  const inside = make("div", {}, make("p", {}, make("code", { textContent: `${verb} ${target}` })));
  if (content && !content.example) {
    inside.append(make("p", { textContent: "The request is too long to be written here, or the model is not loaded." }));
  }
  if (hasBody) inside.append(input);
  inside.append(make("p", {}, button), output);
  if (content) {
    const schema = make("details", {}, make("summary", { textContent: "Schema of the request" }),
      make("pre", { textContent: pretty(content.schema) }));
    inside.append(schema);
  }
  return make("details", {},
    make("summary", {}, make("span", { className: "verb", textContent: verb }),
      make("code", { textContent: path }),
      make("span", { className: "soft", textContent: ` — ${described.summary || ""}` })),
    inside);
}

async function render() {
  const place = document.getElementById("operations");
  const description = await (await fetch("/openapi.json")).json();
  document.getElementById("about").textContent =
    `${description.info.description || ""} Release ${description.info.version}.`;
  place.replaceChildren();
  for (const [path, verbs] of Object.entries(description.paths)) {
    for (const [verb, described] of Object.entries(verbs)) {
      place.append(operation(verb.toUpperCase(), path, described));
    }
  }
  // The first one is what the reader came for.
  place.querySelector("details").open = true;
}

render().catch((error) => {
  document.getElementById("operations").textContent = `The description cannot be read: ${error.message}`;
});
