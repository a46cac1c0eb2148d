/* Feeds the page, which page.js draws: its picture, what has changed, other startups. What it says
   of one unit is in unit.js. */
if (!location.pathname.endsWith("/")) location.replace(`${location.pathname}/${location.search}${location.hash}`);
const server = (() => {
  const { draw, make, write } = timeline;
  const $ = (id) => document.getElementById(id);
  const AGAIN_MS = 3000;
  const LOST = "connection lost; trying again";
  const WORDS = { "": "connecting", live: "live", away: "no coordinator answers", lost: LOST };
  let wanted = "", against = "";  // the startup that is shown, and one to compare with; "" for the present, and none
  let shown = null, listed = "";  // what is drawn: data, and the startup and its end that the list knows
  let state = "", problem = "", drawnAt = 0;
  let isAsking = false, isStale = false, timer = 0, due = 0;

  class Problem extends Error {}
  async function ask(what, parameters = {}) {
    const response = await fetch(`${what}?${new URLSearchParams(parameters)}`, { cache: "no-cache" })
      .catch(() => { throw new Problem(LOST); });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    throw new Problem([answer.error || `the server answers ${response.status}`, answer.hint].filter(Boolean).join(": "));
  }
  function words(error) {
    if (error instanceof Problem) return error.message;
    reportError(error);
    return "a defect of this page: more is in the browser's console";
  }
  const ofStartup = () => (wanted ? { startup: wanted } : {});

  // --- how things are ---
  function ago(ms) {
    const s = Math.round(ms / 1000);
    return s < 120 ? `${s} s` : s < 7200 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
  }
  function say() {
    const isPast = wanted && shown && shown.startup === wanted && state !== "lost";
    const wrong = state !== "away" && problem;
    const isOld = shown && !isPast && (wrong || state === "away" || state === "lost");
    $("lamp").dataset.state = $("live").dataset.state = isPast ? "" : wrong ? "lost" : state;
    write($("live"), isPast ? "an earlier startup" : wrong || WORDS[state]);
    write($("age"), isOld ? `; the last picture is from ${ago(Date.now() - drawnAt)} ago` : "");
  }

  // --- pictures: one at a time, and the server spends little of its time on them ---
  function later(ms) {
    clearTimeout(timer);
    timer = setTimeout(refresh, Math.max(ms, due - performance.now()));
  }
  async function refresh() {
    isStale = isAsking;
    if (isAsking) return;
    isAsking = true;
    const began = performance.now(), startup = wanted;
    try {
      if (!startup || !shown || shown.startup !== startup) {
        const data = await ask("startup.json", ofStartup());
        if (startup === wanted) {
          draw(data);
          shown = data;
          drawnAt = Date.now();
        }
      }
      if (shown) await others();
      await server.onfresh();
      problem = "";
    } catch (error) {
      problem = words(error);
    }
    const took = performance.now() - began;
    due = performance.now() + Math.max(500, 5 * took);
    isAsking = false;
    say();
    if (isStale) later(0);
    else if (problem && state !== "away") later(AGAIN_MS);
    else if (shown && !shown.over && state === "live" && !wanted && !document.hidden) later(Math.max(1000, 10 * took));
  }
  function listen() {
    const source = new EventSource("changes");
    let heard = "";
    const become = (next) => {
      state = next;
      say();
      if (next === "live") later(0);
    };
    const hear = (word) => become(heard = word);
    source.addEventListener("changed", () => hear("live"));
    source.addEventListener("away", () => hear("away"));
    source.addEventListener("open", () => { if (heard) become(heard); });  // nothing is said again
    source.addEventListener("error", () => {
      become("lost");
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(listen, AGAIN_MS);  // there is an answer, such as that of a proxy
      later(0);
    });
  }

  // --- other startups ---
  async function others() {
    const now = `${shown.startup} ${shown.over}`;
    if (!listed || !wanted && listed !== now) {
      choices((await ask("startups.json")).startups);
      listed = now;
    }
    if (!against) return void ($("comparison").hidden = true);
    const box = $("comparison"), had = box.text;
    const compared = await ask("compare.json", { startup: against })
      .catch((error) => ({ verdict: words(error), changes: [], notes: [] }));
    box.text = JSON.stringify(compared);
    if (box.text !== had) compare(box, compared);
    box.hidden = false;
  }
  function choices(startups) {  // the latest one comes first
    const option = (id, label) => Object.assign(make("option", "", label), { value: id });
    const options = startups.slice(1).map(({ id, began, took, outcome }) => option(id,
      `${new Date(began).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}: ${took}, ${outcome}`));
    $("startup").replaceChildren(option("", "the latest"), ...options);
    $("against").replaceChildren(option("", "none"), ...options.map((each) => each.cloneNode(true)));
    $("startup").disabled = $("against").disabled = !options.length;
    select();
  }
  function select() {
    for (const [id, value] of [["startup", wanted], ["against", against]]) $(id).value = value;
  }
  function compare(box, { verdict, changes, notes }) {
    const table = make("table"), row = (tag, cls, cells) => {
      const tr = make("tr", cls);
      tr.append(...cells.map((cell) => make(tag, "", cell)));
      return tr;
    };
    table.append(row("th", "", ["unit", "change", "before", "now", "usual", "reason"]));
    table.append(...changes.map(({ kind, cells }) => row("td", kind, cells)));
    const other = $("against").selectedOptions[0];
    box.replaceChildren(make("h2", "", verdict), make("p", "muted", `The latest startup against ${other ? other.text : against}`), ...(changes.length ? [table] : []),
      ...notes.map((note) => make("p", "muted", note)));
  }
  function turn() {
    const place = new URLSearchParams(location.hash.slice(1));
    wanted = place.get("startup") || "";
    against = place.get("against") || "";
    problem = "";
    select();
    say();
    refresh();
  }
  function pick() {
    const place = new URLSearchParams();
    for (const id of ["startup", "against"]) if ($(id).value) place.set(id, $(id).value);
    location.hash = place;
  }

  for (const id of ["startup", "against"]) $(id).addEventListener("change", pick);
  addEventListener("hashchange", turn);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) later(0); });
  setInterval(say, 1000);
  choices([]);
  queueMicrotask(() => { turn(); listen(); });
  return { ask, ofStartup, words, onfresh: async () => {} };
})();
