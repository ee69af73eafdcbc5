// The page of the playground. The server knows the session; this shows it, and sends what the person does.
import { number, palette, returnsChart, seriesChart, sessionPicture } from "./charts.js";

const $ = (id) => document.getElementById(id);
const DOMAINS = {
  Ecommerce: "A shopper looks at one shelf after the other. Cheap things are clicked, good ones keep the shopper, and whoever is shown nothing but offers takes them for granted.",
  News: "A reader turns page after page. Clickbait is clicked, but how the visit ends decides whether the reader comes back.",
  LiveStream: "A viewer browses or watches. A hot stream draws, nothing but hot ones bore, and whoever is watching does not want to be disturbed.",
};
const PLAIN = { look: "Look at it", cart: "Into the cart", buy: "Buy", glance: "Glance", read: "Read", share: "Read and share", watch: "Join" };

let about = null; // what there is to play
let game = null; // the session as the server told it last
let rivals = new Map(); // agent -> {status, rewards, ...}
let picks = [], sort = null, answer = {}, options = {}, ownStart = false, busy = false, run = 0;

/** An element with attributes and children; "on..." are listeners. */
function h(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}
const hued = (element, topic) => { element.style.setProperty("--hue", (topic * 137.5) % 360); return element; };
const dot = (topic) => hued(h("span", { class: "dot", "aria-hidden": "true" }), topic);
const sum = (values) => values.reduce((a, b) => a + b, 0);
const cumulative = (values) => values.reduce((found, x) => [...found, found.at(-1) + x], [0]);
const title = (text) => text.charAt(0).toUpperCase() + text.slice(1);

async function ask(path, body) {
  let response;
  try {
    response = await fetch(path, body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const told = await response.json().catch(() => ({ error: `The server answers ${response.status}.` }));
  if (!response.ok) throw new Error(told.error ?? `The server answers ${response.status}.`);
  return told;
}
function complain(message, where = "error") {
  $(where).textContent = message ?? "";
  $(where).hidden = !message;
  if (message && where === "error") $(where).scrollIntoView({ block: "nearest" });
}

// The set-up

const field = (name) => document.querySelector(`input[name="${name}"]:checked`).value;
const environment = () => about.environments.find((one) => one.domain === field("domain") && one.slates === (field("slates") !== ""));
const mode = () => field("mode");

function setUp(fresh) {
  const env = environment(), user = mode() === "user";
  if (fresh) options = {};
  // Who is the user has no taste profile: the platform starts from nothing, unless the person says otherwise.
  if (user && !("cold_start" in options)) { options.cold_start = 1; ownStart = true; }
  if (!user && ownStart) { delete options.cold_start; ownStart = false; }
  $("by").hidden = !user;
  const agents = env.agents[mode()], chosen = $("agent").value;
  $("agent").replaceChildren(...agents.map((one) => h("option", { value: one.name }, one.title + (one.slow ? " (learns first)" : ""))));
  $("agent").value = agents.some((one) => one.name === chosen) ? chosen : "heuristic";
  const who = user ? `You are the ${env.users}; an agent recommends, and sees nothing of you but what you do. ` : `You see what an agent sees of the ${env.users}, and recommend. `;
  $("explained").textContent = who + DOMAINS[env.domain];
  showControls();
}

let asked = 0;
async function showControls(focus) {
  if (!$("parameters").open) return markChanges();
  const mine = ++asked;
  try {
    const { groups } = await ask("/api/controls", { id: environment().id, options });
    if (mine !== asked) return;
    complain(null, "invalid");
    const open = new Set([...$("groups").children].filter((one) => one.open).map((one) => one.dataset.title.split(":")[0] + one.dataset.index));
    $("groups").replaceChildren(...groups.map((group, index) => {
      const family = group.title.split(":")[0];
      return h("details", { "data-title": group.title, "data-index": index, open: open.size ? open.has(family + index) : index === 0 },
        h("summary", {}, title(group.title), h("small", {}, group.about)), h("div", { class: "controls" }, group.controls.map(control)));
    }));
    if (focus) document.getElementById(focus)?.focus();
  } catch (error) {
    if (mine === asked) complain(error.message, "invalid");
  }
  markChanges();
}
function markChanges() {
  const n = Object.keys(options).length;
  $("changes").textContent = n ? `(${n} changed: ${Object.entries(options).map(([k, v]) => `${k} = ${v}`).slice(0, 3).join(", ")}${n > 3 ? ", …" : ""})` : "";
}
let later = 0;
function change(one, value, at) {
  const back = JSON.stringify(value) === JSON.stringify(one.default) && !(one.name === "cold_start" && mode() === "user");
  if (one.name.endsWith(".kind")) for (const name of Object.keys(options)) if (name.startsWith(one.name.slice(0, -4))) delete options[name];
  if (back) delete options[one.name]; else options[one.name] = value;
  if (one.name === "cold_start") ownStart = false;
  clearTimeout(later);
  later = setTimeout(() => showControls(at), one.kind === "choice" || one.kind === "switch" ? 0 : 350);
  markChanges();
}
function control(one) {
  const id = `p-${one.name}`, sentence = `${id}-about`;
  const changed = JSON.stringify(one.value) !== JSON.stringify(one.default);
  const say = { id, "aria-describedby": one.about ? sentence : null };
  let input;
  if (one.kind === "switch") input = h("input", { ...say, type: "checkbox", checked: one.value, onchange: (e) => change(one, e.target.checked, id) });
  else if (one.kind === "choice") {
    input = h("select", { ...say, onchange: (e) => change(one, e.target.value, id) }, one.choices.map((name) => h("option", { value: name, selected: name === one.value }, name)));
  } else if (one.kind === "pair") {
    const set = () => change(one, [...input.children].map((x) => Number(x.value)), id);
    input = h("span", { class: "row" }, one.value.map((x, k) => h("input", { ...say, id: k ? `${id}-2` : id, "aria-label": `${one.label}, ${k ? "end" : "start"}`, type: "number", step: 1, value: x, onchange: set })));
  } else {
    const whole = one.kind === "whole", span = one.high - one.low;
    const step = whole ? 1 : 10 ** Math.floor(Math.log10(span / 100));
    const read = (e) => (e.target.value === "" ? one.default : Number(e.target.value));
    const exact = h("input", { ...say, type: "number", step: whole ? 1 : "any", min: one.least, max: one.most, value: one.value, onchange: (e) => { slide.value = e.target.value; change(one, read(e), id); } });
    const slide = h("input", { type: "range", min: one.low, max: one.high, step, value: one.value, "aria-label": one.label, oninput: (e) => { exact.value = e.target.value; }, onchange: (e) => change(one, read(e), null) });
    slide.value = one.value;
    input = h("span", { class: "row" }, slide, exact);
  }
  return h("div", { class: changed ? "control changed" : "control" }, h("label", { for: id }, one.label), input, one.about ? h("small", { id: sentence }, one.about) : null);
}

async function start(event) {
  event?.preventDefault();
  if (busy) return;
  complain(null);
  const env = environment(), mine = ++run, seed = Number($("seed").value);
  const asking = { id: env.id, options: { ...options }, mode: mode(), seed, agent: mode() === "user" ? $("agent").value : null };
  busy = true;
  $("start").disabled = true;
  const slow = setTimeout(() => { $("waiting").textContent = "Compiling the kernels, the first time only: up to half a minute …"; }, 1500);
  try {
    if (asking.mode === "user") await ready(asking, mine);
    game = await ask("/api/sessions", asking);
    game.asked = asking;
    rivals = new Map();
    picks = []; sort = null; answer = {};
    $("setup").open = false;
    $("game").hidden = false;
    show();
    location.replace(`#${new URLSearchParams({ id: env.id, mode: asking.mode, seed })}`);
    if (asking.mode === "recommend") for (const one of env.agents.recommend) if (!one.slow) rival(one, mine);
    $("game").scrollIntoView({ block: "start" });
  } catch (error) {
    complain(error.message);
  } finally {
    clearTimeout(slow);
    busy = false;
    $("start").disabled = false;
    $("waiting").textContent = "";
  }
}
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const learned = (told) => (told.progress === null ? "is getting ready …" : `has learned ${Math.round(100 * told.progress)} % …`);

/** Wait until the agent that shall recommend has learned. */
async function ready(asking, mine) {
  for (;;) {
    const told = await ask("/api/agents", { id: asking.id, options: asking.options, agent: asking.agent });
    if (told.status === "ready") return;
    if (told.status === "failed") throw new Error(told.error);
    $("waiting").textContent = `${asking.agent} ${learned(told)}`;
    await pause(700);
    if (mine !== run) throw new Error("Another session was started.");
  }
}

/** Let an agent serve the same user, and show what it earned. */
async function rival(one, mine) {
  const session = game.session;
  rivals.set(one.name, { ...one, status: "working", progress: null });
  showReturns();
  for (;;) {
    let told;
    try {
      told = await ask(`/api/sessions/${session}/rivals/${one.name}`, {});
    } catch (error) {
      told = { status: "failed", error: error.message };
    }
    if (mine !== run) return;
    rivals.set(one.name, { ...one, ...told });
    showReturns();
    if (told.status !== "working") return;
    await pause(900);
  }
}

// A step

async function step(given) {
  if (busy || !game || game.over) return;
  busy = true;
  complain(null);
  try {
    const kept = { asked: game.asked };
    game = { ...(await ask(`/api/sessions/${game.session}/step`, { step: game.step, ...given })), ...kept };
    picks = []; answer = {};
    const where = focused();
    show();
    // Go on where the person was, and let what came of it be seen.
    if (!game.over) focusables()[Math.min(where, focusables().length - 1)]?.focus({ preventScroll: true });
    if (!game.over && $("last").getBoundingClientRect().top < 0) $("last").scrollIntoView({ block: "start" });
  } catch (error) {
    complain(error.message);
  } finally {
    busy = false;
  }
}
const focusables = () => [...document.querySelectorAll("#choose .pick, #choose .card button, #choose .actions button")];
/** Which of the buttons of a step has the focus; -1: none. */
const focused = () => focusables().indexOf(document.activeElement);

// What is shown

function show() {
  const recommend = game.mode === "recommend", earned = sum(game.rewards);
  document.body.dataset.mode = game.mode;
  $("summary").textContent = `${game.id.split("/")[1]}, ${recommend ? "you recommend to" : "you in the place of"} user ${game.seed}`;
  const bar = [["step", `${game.step} of ${game.horizon} at most`], ["time", game.clock], ["return", number(earned)], ["a step pays", game.paid]];
  $("bar").replaceChildren(...bar.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
  showEnd();
  showLast();
  $("choose").replaceChildren(...(game.over ? course() : recommend ? chooser() : responder()));
  showReturns();
  $("state-title").textContent = recommend ? `The ${game.user}'s hidden state` : "What the world makes of you";
  $("state-about").textContent = game.series.length ? (recommend ? "No agent sees this, but for those with a *." : "No agent sees this.") : "Drawn from the first step on.";
  const colours = palette();
  $("series").replaceChildren(...game.series.map((one) => h("figure", {}, h("figcaption", {}, h("span", { title: one.name }, one.name), h("b", {}, number(one.values.at(-1)))), named(seriesChart(one, { colours }), `${one.name} over the session, now ${number(one.values.at(-1))}`))));
  $("known-title").textContent = recommend ? `What the platform knows of the ${game.user}` : "What the agent has seen of you";
  $("about").replaceChildren(...(game.about ?? []).flatMap((one) => [h("dt", { title: one.hint }, one.label), h("dd", {}, one.text)]));
  $("history").replaceChildren(h("span", { class: "soft" }, game.history.length ? "clicked last:" : "no clicks yet"), ...game.history.map((one) => h("span", {}, dot(one.topic), one.name)));
  $("log").href = `/api/sessions/${game.session}/log`;
}
function named(chart, label) { chart.setAttribute("aria-label", label); return chart; }

function showEnd() {
  $("end").hidden = !game.over;
  if (!game.over) return;
  const totals = Object.entries(game.totals).filter(([, x]) => x).map(([name, x]) => `${name} ${number(x)}`).join(", ");
  const next = (seed) => () => { $("seed").value = seed; start(); };
  $("end").replaceChildren(
    h("h2", {}, `${game.over} ${game.mode === "recommend" ? "You" : "The agent"} earned ${number(sum(game.rewards))} in ${game.step} step${game.step === 1 ? "" : "s"}.`),
    h("p", { class: "soft" }, totals ? `In all: ${totals}.` : "Nothing came of it."),
    h("p", { id: "verdict" }),
    h("p", { class: "buttons" }, h("button", { class: "primary", type: "button", onclick: next(game.seed + 1) }, "Next user"), h("button", { type: "button", onclick: next(game.seed) }, "Same user again"), h("button", { type: "button", onclick: () => { $("setup").open = true; $("setup").scrollIntoView(); } }, "Something else")),
  );
  $("end").focus({ preventScroll: true });
  $("end").scrollIntoView({ block: "nearest" });
}

const hit = (one) => (one.did ? one.did.replace("watched 0.0 min", "a glance") : game.mode === "recommend" ? "ignored" : "not taken");

/** All steps of a session that is over. */
function course() {
  const wide = matchMedia("(min-width: 62.01rem)").matches; // elsewhere the returns come below
  return [h("details", { open: wide }, h("summary", {}, "Step by step"), h("ol", { id: "course" }, game.course.map((one, k) => h("li", {}, h("span", { class: "soft" }, String(k + 1)),
    h("span", {}, one.shown.flatMap((item, n) => [n ? ", " : "", dot(item.topic), h("span", { class: item.did ? "hit" : "" }, item.did ? `${item.name}: ${hit(item)}` : item.name)]), one.shown.length ? "" : h("span", { class: "soft" }, "nothing shown"),
      one.notes.map((note) => h("span", { class: "soft" }, ` (${note})`))),
    h("b", { class: one.reward > 0 ? "gain" : "" }, number(one.reward))))))];
}

function showLast() {
  const last = game.last;
  if (!last) {
    const first = game.mode === "recommend" ? `Nothing shown yet. ${game.slate_size > 1 ? "Pick several, the best first, and show them." : `Pick the ${game.item} that the ${game.user} sees first.`}` : "Nothing has happened yet.";
    return $("last").replaceChildren(h("h2", {}, game.mode === "recommend" ? `A new ${game.user}` : "You have just arrived"), h("p", { class: "soft" }, first));
  }
    $("last").replaceChildren(
    h("h2", {}, `Step ${game.step}: `, h("span", { class: last.reward > 0 ? "gain" : "" }, `${last.reward > 0 ? "+" : ""}${number(last.reward)}`)),
    h("ul", { class: "did" }, last.shown.length ? last.shown.map((one) => h("li", { class: one.clicked ? "hit" : "" }, dot(one.topic), `${one.name}: ${hit(one)} `, h("small", { title: "How likely the model held a click" }, `p ${one.probability.toFixed(one.probability < 0.1 ? 3 : 2)}`))) : [h("li", {}, "Nothing was shown.")]),
    ...last.notes.map((note) => h("p", { class: "soft" }, `${title(note)}.`)),
  );
}

// The person recommends

function chooser() {
  const slate = game.slate_size > 1, rows = [...game.candidates];
  if (sort) {
    const k = game.columns.findIndex((one) => one.key === sort.key);
    const value = (row) => (k < 0 ? row.name : row.cells[k].value);
    rows.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (sort.down ? -1 : 1));
  }
  const by = (key, down) => { sort = key ? { key, down } : null; redraw(); };
  const heads = [{ key: "name", label: "topic", hint: "What the item is about. You see this, agents do not." }, ...game.columns];
  const head = heads.map((one) => h("th", { scope: "col", "aria-sort": sort?.key === one.key ? (sort.down ? "descending" : "ascending") : null }, h("button", { type: "button", title: one.hint, onclick: () => by(one.key, sort?.key === one.key ? !sort.down : one.key !== "name") }, one.label)));
  const body = rows.map((row) => {
    const at = picks.indexOf(row.pick);
    const label = h("button", { type: "button", class: "pick", "data-pick": row.pick, "aria-pressed": slate ? String(at >= 0) : null }, slate ? h("span", { class: "place", "aria-hidden": "true" }, at >= 0 ? String(at + 1) : "") : null, dot(row.topic), row.name, at >= 0 ? h("span", { hidden: true }, `position ${at + 1}`) : null);
    return h("tr", { class: at >= 0 ? "picked" : "", onclick: () => pick(row.pick) }, h("th", { scope: "row" }, label), row.cells.map((cell, k) => {
      const made = h("td", { "data-label": game.columns[k].label }, cell.text);
      made.style.setProperty("--share", cell.share.toFixed(3));
      return made;
    }));
  });
  const choices = heads.flatMap((one) => [h("option", { value: `${one.key} 1`, selected: sort?.key === one.key && sort.down }, `${one.label}, highest first`), h("option", { value: `${one.key} 0`, selected: sort?.key === one.key && !sort.down }, `${one.label}, lowest first`)]);
  const full = picks.length === game.slate_size;
  const doing = [
    slate ? h("button", { type: "button", class: "primary", id: "show", disabled: !picks.length && !game.null, onclick: submit }, picks.length || !game.null ? `Show ${picks.length === 1 ? "it" : picks.length ? `these ${picks.length}` : "the slate"}` : "Show nothing") : null,
    game.null && !slate ? h("button", { type: "button", id: "nothing", onclick: () => step({ picks: [] }) }, "Show nothing") : null,
    slate && picks.length ? h("button", { type: "button", onclick: () => { picks = []; redraw(); } }, "Clear") : null,
  ];
  return [
    h("h2", {}, !rows.length ? "There is nothing to show now" : slate ? `Fill the slate: ${picks.length} of ${game.slate_size}, the top position first${full ? ", ready" : ""}` : `Pick what the ${game.user} sees next${game.null ? ", or nothing" : ""}`),
    h("label", { class: "sorting" }, "Sorted by", h("select", { onchange: (e) => { const [key, down] = e.target.value.split(" "); by(key, down === "1"); } }, h("option", { value: "" }, "match"), choices)),
    h("div", { class: "scroll", tabindex: -1 }, h("table", { class: "candidates", "aria-label": "Candidates" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body))),
    h("div", { class: "actions" }, doing, h("span", { class: "soft keys" }, h("kbd", {}, "↑"), " ", h("kbd", {}, "↓"), " move, ", h("kbd", {}, "Enter"), slate ? " picks, " : " shows it", slate ? [h("kbd", {}, "s"), " shows the slate"] : null, game.null ? [", ", h("kbd", {}, "n"), " nothing"] : null, ". A bar says where a number lies among the candidates.")),
  ];
}
/** Draw the chooser again, with the focus where it was. */
function redraw() {
  const at = document.activeElement?.dataset?.pick;
  $("choose").replaceChildren(...chooser());
  if (at !== undefined) document.querySelector(`[data-pick="${at}"]`)?.focus({ preventScroll: true });
}
function pick(number) {
  if (game.slate_size === 1) return step({ picks: [number] });
  if (picks.includes(number)) picks = picks.filter((one) => one !== number);
  else if (picks.length < game.slate_size) picks = [...picks, number];
  else return complain(`The slate is full: take one of the ${game.slate_size} out first.`);
  complain(null);
  const focus = document.activeElement?.dataset?.pick !== undefined;
  redraw();
  if (focus) document.querySelector(`[data-pick="${number}"]`)?.focus({ preventScroll: true });
}
const submit = () => step({ picks });

// The person is the user

function responder() {
  const took = (answer.took ??= {}), several = !game.single, cards = game.shown.map((one, k) => ({ one, k })).filter(({ one }) => one);
  const send = (more) => step({ answer: { ...answer, ...more } });
  const act = (k, deed) => {
    if (!several) return send({ took: { [k]: deed } });
    if (took[k] === deed) delete took[k]; else took[k] = deed;
    const at = `${k}-${deed}`;
    $("choose").replaceChildren(...responder());
    document.querySelector(`[data-deed="${at}"]`)?.focus({ preventScroll: true });
  };
  const toggle = (label, on, flip) => h("button", { type: "button", "aria-pressed": String(on), onclick: (e) => { flip(); e.target.setAttribute("aria-pressed", String(e.target.getAttribute("aria-pressed") !== "true")); } }, label);
  const items = cards.map(({ one, k }) => hued(h("li", { class: "card" }, h("h3", {}, one.name, " ", h("small", {}, `${game.item} ${one.item}`)),
    h("dl", { class: "facts" }, one.facts.flatMap((fact) => [h("dt", { title: fact.hint }, fact.label), h("dd", {}, fact.text)])),
    h("p", { class: "buttons" }, game.deeds.map((deed) => h("button", { type: "button", "data-deed": `${k}-${deed}`, "aria-pressed": several ? String(took[k] === deed) : null, onclick: () => act(k, deed) }, PLAIN[deed] ?? deed)))), one.topic));
  const cart = game.cart?.length ? h("div", { class: "box" }, h("h2", {}, "Your cart"), h("ul", {}, game.cart.map((one) => h("li", {}, h("span", {}, dot(one.topic), one.name), h("span", {}, one.price),
    toggle("Buy it with this step", (answer.buys ?? []).includes(one.place), () => { const buys = (answer.buys ??= []); answer.buys = buys.includes(one.place) ? buys.filter((x) => x !== one.place) : [...buys, one.place]; }))))) : null;
  const screen = game.screen ? h("div", { class: "box" }, h("h2", {}, dot(game.screen.topic), `On screen: ${game.screen.name}, ${Math.round(game.screen.minutes)} minutes so far`),
    h("p", { class: "buttons" }, toggle("Like", !!answer.like, () => { answer.like = !answer.like; }), toggle("Send a gift", !!answer.gift, () => { answer.gift = !answer.gift; }))) : null;
  const watching = !!game.screen;
  const on = watching ? "Keep watching" : game.screen === false ? "Keep browsing" : several ? (Object.keys(took).length ? "Done, next page" : "Nothing, next page") : "Nothing of this";
  return [
    h("h2", {}, items.length ? `${$("agent").selectedOptions[0]?.textContent.split(" (")[0] ?? "The agent"} recommends` : "The agent leaves you in peace"),
    screen, items.length ? h("ul", { class: "cards" }, items) : null, cart,
    h("div", { class: "actions" }, h("button", { type: "button", class: "primary", id: "on", onclick: () => send({ stays: true }) }, on),
      watching ? h("button", { type: "button", id: "off", onclick: () => send({ stays: false }) }, "Switch off") : null,
      h("button", { type: "button", id: "leave", onclick: () => send({ leaves: true, stays: false }) }, "Leave"),
      h("span", { class: "soft keys" }, h("kbd", {}, "n"), ` ${on.toLowerCase()}`)),
  ].filter(Boolean);
}

// Returns

function lines() {
  const colours = palette(), mine = { name: game.mode === "recommend" ? "you" : "the agent that you had", title: game.mode === "recommend" ? "you" : "the agent", rewards: game.rewards, colour: colours.lines[0], strong: true, status: "ready" };
  const offered = about.environments.find((one) => one.id === game.id).agents.recommend;
  const others = game.mode === "recommend" ? offered.map((one, k) => ({ ...one, ...(rivals.get(one.name) ?? { status: "waiting" }), colour: colours.lines[(k + 1) % colours.lines.length] })) : [];
  return [mine, ...others];
}
function showReturns() {
  if (!game) return;
  const all = lines(), there = all.filter((one) => one.rewards);
  $("chart").replaceChildren(named(returnsChart(there.map((one) => ({ values: cumulative(one.rewards), colour: one.colour, strong: one.strong }))), `Return over the steps: ${there.map((one) => `${one.title} ${number(sum(one.rewards))}`).join(", ")}`));
  if (game.mode === "user") return $("rivals").replaceChildren(h("p", { class: "soft" }, "What the agent has earned by you."));
  const rows = all.map((one) => {
    const swatch = h("span", { class: "line", "aria-hidden": "true" });
    swatch.style.background = one.colour;
    const cells = one.rewards ? [h("td", {}, number(sum(one.rewards.slice(0, game.step)))), h("td", {}, one.strong && !game.over ? "" : number(sum(one.rewards))), h("td", {}, one.strong && !game.over ? "" : String(one.rewards.length))]
      : [h("td", { colspan: 3, class: "soft", title: one.error ?? "" }, one.status === "failed" ? "cannot play here" : one.status === "working" ? (one.slow ? (one.progress === null ? "getting ready …" : `${Math.round(100 * one.progress)} % learned`) : "…") : h("button", { type: "button", onclick: () => rival(one, run), "aria-label": `Let ${one.title} serve this user` }, "let it try"))];
    return h("tr", { class: one.strong ? "you" : "" }, h("th", { scope: "row", title: one.about ?? "" }, swatch, one.title), cells);
  });
  $("rivals").replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, [`this user`, `by step ${game.step}`, "at end", "steps"].map((text, k) => h(k ? "td" : "th", { class: "soft" }, text)))), h("tbody", {}, rows)),
    h("p", { class: "soft" }, "* reads the hidden state. One user is one draw of luck: the leaderboards have means over 2000."));
  verdict(there);
}
function verdict(there) {
  const where = $("verdict");
  if (!game.over || !where) return;
  const mine = sum(game.rewards), others = there.filter((one) => !one.strong);
  const below = others.filter((one) => sum(one.rewards) < mine - 1e-9).map((one) => one.title);
  const above = others.filter((one) => sum(one.rewards) > mine + 1e-9).map((one) => one.title);
  const list = (names) => (names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0]);
  const parts = [below.length ? `You earned more than ${list(below)}` : null, above.length ? `${below.length ? "less" : "You earned less"} than ${list(above)}` : null].filter(Boolean);
  where.textContent = parts.length ? `${parts.join(", and ")}.` : "";
}

// Pictures

function picture() {
  const all = lines().filter((one) => one.rewards);
  const made = sessionPicture([`recgym playground: ${game.id.split("/")[1]}, user ${game.seed}`, `${game.mode === "recommend" ? "A person recommends" : "A person is the user"}; ${game.step} steps, return ${number(sum(game.rewards))}. ${game.over}`],
    all.map((one) => ({ values: cumulative(one.rewards), colour: one.colour, strong: one.strong })), game.series,
    all.map((one) => ({ text: one.title, value: number(sum(one.rewards)), colour: one.colour, strong: one.strong })));
  return new Blob([new XMLSerializer().serializeToString(made)], { type: "image/svg+xml" });
}
function download(blob, ending) {
  const link = h("a", { href: URL.createObjectURL(blob), download: `recgym-${game.id.split("/")[1]}-${game.seed}.${ending}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
async function asPng(blob) {
  const image = new Image(), address = URL.createObjectURL(blob);
  image.src = address;
  await image.decode();
  const canvas = h("canvas", { width: 2 * image.naturalWidth, height: 2 * image.naturalHeight });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(address);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

// Keys

function key(event) {
  if (!game || game.over || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, #setup")) return;
  const buttons = [...document.querySelectorAll(".pick")];
  if (buttons.length && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    const at = buttons.indexOf(document.activeElement);
    buttons[at < 0 ? 0 : Math.min(Math.max(at + (event.key === "ArrowDown" ? 1 : -1), 0), buttons.length - 1)].focus();
    event.preventDefault();
  } else if (event.key === "s" && $("show") && !$("show").disabled) submit();
  else if (event.key === "n" && game.mode === "recommend" && game.null) step({ picks: [] });
  else if (event.key === "n" && game.mode === "user") $("on")?.click();
}

async function begin() {
  try {
    about = await ask("/api/start");
  } catch (error) {
    return complain(error.message);
  }
  $("version").textContent = `recgym ${about.version}.`;
  $("seed").max = about.most_seed;
  const wanted = new URLSearchParams(location.hash.slice(1));
  const env = about.environments.find((one) => one.id === wanted.get("id"));
  const check = (name, value) => { const found = document.querySelector(`input[name="${name}"][value="${value}"]`); if (found) found.checked = true; };
  if (env) { check("domain", env.domain); check("slates", env.slates ? "Slate" : ""); }
  if (["recommend", "user"].includes(wanted.get("mode"))) check("mode", wanted.get("mode"));
  if (/^\d{1,10}$/.test(wanted.get("seed") ?? "")) $("seed").value = wanted.get("seed");
  setUp(true);
  for (const name of ["domain", "slates"]) for (const one of document.querySelectorAll(`input[name="${name}"]`)) one.addEventListener("change", () => setUp(true));
  for (const one of document.querySelectorAll('input[name="mode"]')) one.addEventListener("change", () => setUp(false));
  $("parameters").addEventListener("toggle", () => showControls());
  $("reset").addEventListener("click", () => setUp(true));
  $("dice").addEventListener("click", () => { $("seed").value = Math.floor(Math.random() * 100_000); });
  $("form").addEventListener("submit", start);
  $("svg").addEventListener("click", () => download(picture(), "svg"));
  $("png").addEventListener("click", async () => download(await asPng(picture()), "png"));
  document.addEventListener("keydown", key);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => game && show());
  document.body.dataset.ready = "true";
}
begin();
