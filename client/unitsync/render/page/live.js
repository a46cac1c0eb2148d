/* Feeds the page: see timeline.draw in page.js. */
(() => {
  const $ = (id) => document.getElementById(id);
  const PRESENT = "";
  let wanted = PRESENT;   // the startup that is shown
  let state = "";         // "" before the first word of the server; live, away, lost
  let problem = "";       // why there is no newer picture
  let drawn = 0;          // when the last picture came
  let isOver = true, isAsking = false, isStale = false, timer = 0, due = 0;

  class Refusal extends Error {}  // any other error of fetch: the connection is lost
  async function ask(what, parameters = {}) {
    const query = new URLSearchParams(parameters);
    const response = await fetch(`${what}?${query}`, { cache: "no-cache" });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    throw new Refusal([answer.error || `the server answers ${response.status}`, answer.hint].filter(Boolean).join("; "));
  }
  const ofStartup = () => (wanted === PRESENT ? {} : { startup: wanted });

  // --- what is going on ---
  function say() {
    const words = { "": "connecting", live: "live", away: "no coordinator answers", lost: "connection lost; trying again" };
    const isPast = wanted !== PRESENT && state !== "lost";
    timeline.write($("live"), problem || (isPast ? "an earlier startup" : words[state]));
    $("lamp").className = problem ? "lost" : isPast ? "" : state;
    const isOld = drawn && !isPast && (problem || state === "away" || state === "lost");
    timeline.write($("age"), isOld ? `; the last picture is from ${ago(Date.now() - drawn)} ago` : "");
  }
  function ago(ms) {
    const s = Math.round(ms / 1000);
    return s < 120 ? `${s} s` : s < 7200 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
  }
  setInterval(say, 1000);

  // --- pictures: one request at a time, and the server spends little of its time on them ---
  function later(ms) {
    clearTimeout(timer);
    timer = setTimeout(refresh, Math.max(ms, due - performance.now()));
  }
  async function refresh() {
    if (isAsking) { isStale = true; return; }
    isAsking = true;
    isStale = false;
    const began = performance.now(), shown = wanted;
    try {
      const data = await ask("startup.json", ofStartup());
      if (shown === wanted) {
        timeline.draw(data);
        isOver = data.over;
        drawn = Date.now();
        problem = "";
      }
    } catch (error) {
      if (shown === wanted) problem = error instanceof Refusal ? error.message : "";
      if (!problem) state = "lost";
    }
    const took = performance.now() - began;
    due = performance.now() + Math.max(500, 5 * took);
    isAsking = false;
    say();
    if (shown !== wanted) refresh();
    else if (isStale) later(0);
    else if (!isOver && state === "live" && wanted === PRESENT) later(Math.max(1000, 10 * took));
  }

  // --- changes ---
  function listen() {
    const source = new EventSource("changes");
    const hear = (name, next) => source.addEventListener(name, () => { state = next; say(); if (next === "live") later(0); });
    hear("changed", "live");
    hear("away", "away");
    source.addEventListener("error", () => {
      state = "lost";
      say();
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);  // a proxy has answered
    });
  }
  say();
  listen();
})();
