"use strict";
/* Draws a startup: once in a file, again and again in a page that is fed (live.js). A redraw keeps
   what the reader has chosen, by the names of units. */
const timeline = (() => {
  const $ = (id) => document.getElementById(id);
  const scroll = $("scroll"), sheet = $("sheet"), list = $("rows"), details = $("details");
  const tip = $("tip"), filter = $("filter");
  const PAD = 4, LABELS = 96, ZOOM_MOST = 400, WIDE = 100000;
  const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500].map((ms) => ms / 1000)
    .concat([1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 86400]);
  let data = { width: 0, links: [], units: [] }, units = data.units;
  let rows = [], lanes = [], shown = [], dependents = [], before = new Set(), after = new Set();
  let zoom = 1, time = 1, high = 26, active = -1, chosen = -1, hinted = -1, only = false;

  function make(tag, cls, text) {
    const element = document.createElement(tag);
    if (cls) element.className = cls;
    if (text) element.textContent = text;
    return element;
  }
  function write(element, text) {  // a text that stays is not read out once more
    if (element.textContent !== text) element.textContent = text;
  }
  const share = (at) => (data.width ? at / data.width : 0);
  const seconds = (many) => `calc(var(--second) * ${many})`;

  function draw(next) {
    const follows = scroll.scrollLeft + scroll.clientWidth >= scroll.scrollWidth - 2;
    const places = new Map(next.units.map((unit, place) => [unit.name, place]));
    const moved = (place) => (place < 0 ? -1 : places.get(units[place].name) ?? -1);
    const lost = chosen >= 0 && moved(chosen) < 0;
    [active, chosen, hinted] = [active, chosen, hinted].map(moved);
    const second = zoom > 1 && data.width ? time / data.width : 0;
    data = next;
    units = data.units;
    write($("title"), data.title);
    write($("summary"), [data.summary, ...data.notes].join("; "));
    document.title = data.title;
    relate();
    fill();
    if (lost) return choose(-1);
    belong();
    layout(second);
    panel();
    if (zoom > 1 && follows) scroll.scrollLeft = scroll.scrollWidth;
    show();
    move(active, false);
    if (hinted >= 0) tell(); else tip.hidden = true;
  }

  // --- who belongs to whom ---
  function relate() {
    dependents = units.map(() => []);
    units.forEach((unit, place) => unit.edges.forEach((edge) => {
      if (edge.unit >= 0) dependents[edge.unit].push(place);
    }));
  }
  function reach(from, next) {
    const found = new Set(), open = [from];
    while (open.length) {
      for (const place of next(open.pop())) {
        if (place >= 0 && place !== from && !found.has(place)) { found.add(place); open.push(place); }
      }
    }
    return found;
  }
  const prerequisites = (place) => units[place].edges.map((edge) => edge.unit);

  // --- rows ---
  let known = new Map();  // by name: a click that has begun finds its row at its end
  function put(parent, children) {  // what is in its place stays there
    children.forEach((child, at) => {
      if (parent.childNodes[at] !== child) parent.insertBefore(child, parent.childNodes[at] || null);
    });
    while (parent.childNodes.length > children.length) parent.lastChild.remove();
  }
  function rowOf(unit, place) {
    let row = known.get(unit.name);
    if (!row) {
      row = make("div", "row");
      row.setAttribute("role", "option");
      row.dataset.name = unit.name;
      row.append(make("div", "name", unit.shown), make("span", "hidden"), make("div", "track"));
      row.lastChild.setAttribute("aria-hidden", "true");  // what is hidden says all of it
    }
    row.id = `unit-${place}`;
    row.dataset.place = place;
    const text = JSON.stringify(unit);
    if (row.drawn === text) return row;
    row.drawn = text;
    row.classList.toggle("critical", unit.critical);
    const marks = [], mark = (cls, at, text) => {
      const element = make(text === undefined ? "i" : "span", cls, text);
      element.style.left = seconds(at);
      marks.push(element);
      return element;
    };
    for (const [kind, began, ended, cls] of unit.parts) {
      mark(`bar ${kind} ${cls}`, began).style.width = seconds(ended - began);
    }
    for (const at of unit.retries) mark("retry", at);
    if (unit.gate >= 0) mark("gate" + (unit.critical ? " critical" : ""), unit.gate);
    mark(`label ${unit.tone}`, unit.labelAt, unit.label);
    row.lastChild.replaceChildren(...marks);
    return row;
  }
  function laneOf(host) {
    const box = make("div", "lane"), title = make("div", "host");
    title.append(make("span", "", host));
    title.hidden = !host;
    if (host) {
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", host);
      title.setAttribute("aria-hidden", "true");
    }
    box.append(title);
    return { host, box };
  }
  function fill() {
    rows = units.map(rowOf);
    known = new Map(rows.map((row, place) => [units[place].name, row]));
    const old = lanes;
    lanes = [];  // of a job: the rows of each host, below its name
    units.forEach((unit, place) => {
      if (place && units[place - 1].host === unit.host) return lanes[lanes.length - 1].places.push(place);
      const had = old[lanes.length];
      const { host, box } = had && had.host === unit.host ? had : laneOf(unit.host);
      lanes.push({ host, box, places: [place] });
    });
    for (const { box, places } of lanes) put(box, [box.firstChild, ...places.map((place) => rows[place])]);
    put(list, lanes.map((lane) => lane.box));
  }

  // --- time ---
  const within = (wanted) => Math.min(ZOOM_MOST, Math.max(1, wanted));
  function layout(second = 0) {  // that wide, or as far zoomed in as before
    const widest = units.reduce((most, unit) => Math.max(most, unit.columns), 4) * 7.6 + 46;
    const names = Math.min(widest, Math.max(110, scroll.clientWidth * 0.3), 300);
    const fit = Math.max(120, scroll.clientWidth - names - LABELS);
    if (second) zoom = within(second * data.width / fit);
    time = fit * zoom;
    const sizes = { names, time, second: data.width ? time / data.width : 0, labels: LABELS };
    for (const [name, value] of Object.entries(sizes)) {
      sheet.style.setProperty(`--${name}`, `${value}px`);
    }
    sheet.dataset.names = names;
    high = parseFloat(getComputedStyle(sheet).getPropertyValue("--row"));
    marks();
    for (const [id, at] of [["in", zoom >= ZOOM_MOST], ["out", zoom <= 1], ["fit", zoom <= 1]]) {
      $(id).setAttribute("aria-disabled", String(at));
    }
  }
  function text(at, step) {
    if (!at) return "0";
    if (step < 0.1) return `${Math.round(at * 1000)} ms`;
    for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (step % size === 0) return `${Math.round(at / size)} ${name}`;
    }
    return `${step < 1 ? at.toFixed(1) : Math.round(at)} s`;
  }
  function marks() {
    const axis = $("axis"), grid = $("grid"), names = Number(sheet.dataset.names);
    axis.replaceChildren();
    grid.replaceChildren();
    if (!data.width) return;
    const least = 90 / time * data.width;
    const step = STEPS.find((each) => each >= least) || Math.ceil(least / 86400) * 86400;
    const first = Math.ceil(scroll.scrollLeft / time * data.width / step);
    const last = Math.min(data.width, (scroll.scrollLeft + scroll.clientWidth) / time * data.width);
    for (let number = first; number * step <= last + 1e-9; number++) {
      const left = `${names + share(number * step) * time}px`;
      const label = make("span", "", text(number * step, step)), line = make("i");
      label.style.left = line.style.left = left;
      axis.append(label);
      grid.append(line);
    }
  }
  let waiting = false;
  function later() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; marks(); });
  }
  function zoomTo(wanted, at) {
    const names = Number(sheet.dataset.names);
    const view = scroll.clientWidth - names;
    const anchor = at === undefined ? view / 2 : Math.max(0, at - names);
    const moment = (scroll.scrollLeft + anchor) / time;
    zoom = within(wanted);
    layout();
    scroll.scrollLeft = zoom === 1 ? 0 : moment * time - anchor;
    later();
  }

  // --- what is shown ---
  function matches(unit) {
    const wanted = filter.value.trim().toLowerCase();
    return !wanted || unit.name.toLowerCase().includes(wanted)
      || unit.state.includes(wanted) || (unit.critical && "critical path".includes(wanted));
  }
  function show() {
    shown = [];
    units.forEach((unit, place) => {
      const fits = matches(unit) && (!only || place === chosen || before.has(place) || after.has(place));
      rows[place].hidden = !fits;
      if (fits) shown.push(place);
    });
    for (const lane of lanes) lane.box.hidden = !lane.places.some((place) => !rows[place].hidden);
    $("none").hidden = shown.length > 0;
    write($("none"), units.length ? "No unit matches." : "No unit is registered yet.");
    write($("count"), shown.length < units.length ? `${shown.length} of ${units.length}` : "");
    if (!shown.includes(active)) move(shown.length ? shown[0] : -1, false);
    links();
  }
  function links() {
    const svg = $("links"), places = new Map();
    let number = 0;
    shown.forEach((place, at) => {
      const host = units[place].host;
      if (host && (!at || units[shown[at - 1]].host !== host)) number++;
      places.set(place, number++);
    });
    const height = number * high + 2 * PAD;
    svg.setAttribute("viewBox", `0 0 ${WIDE} ${Math.max(1, height)}`);
    svg.style.height = `${height}px`;
    svg.replaceChildren();
    const line = (from, to, at, cls) => {
      if (!places.has(from) || !places.has(to)) return;
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      const x = share(at) * WIDE, y = (place) => PAD + high * (places.get(place) + 0.5);
      path.setAttribute("d", `M${x} ${y(from)}V${y(to)}`);
      path.setAttribute("class", cls);
      svg.append(path);
    };
    for (const [from, to, at] of data.links) line(from, to, at, "critical");
    if (chosen < 0) return;
    const edges = (place) => units[place].edges.filter((edge) => edge.met !== null);
    for (const edge of edges(chosen)) line(edge.unit, chosen, edge.met, "chosen");
    for (const place of dependents[chosen]) {
      for (const edge of edges(place)) if (edge.unit === chosen) line(chosen, place, edge.met, "chosen");
    }
  }

  // --- one unit ---
  function move(place, reveal = true) {
    for (const row of list.querySelectorAll(".active")) row.classList.remove("active");
    active = place;
    if (place < 0) { list.removeAttribute("aria-activedescendant"); return; }
    rows[place].classList.add("active");
    list.setAttribute("aria-activedescendant", rows[place].id);
    if (!reveal) return;
    const top = rows[place].offsetTop, axis = 30;
    if (top < scroll.scrollTop) scroll.scrollTop = top - PAD;
    const bottom = top + high + axis + PAD - scroll.clientHeight;
    if (bottom > scroll.scrollTop) scroll.scrollTop = bottom;
  }
  function belong() {
    before = chosen < 0 ? new Set() : reach(chosen, prerequisites);
    after = chosen < 0 ? new Set() : reach(chosen, (each) => dependents[each]);
    list.classList.toggle("some", chosen >= 0);
    rows.forEach((row, each) => {
      row.classList.toggle("chosen", each === chosen);
      row.classList.toggle("before", before.has(each));
      row.classList.toggle("after", after.has(each));
      row.setAttribute("aria-selected", String(each === chosen));
      const role = before.has(each) ? ", prerequisite" : after.has(each) ? ", dependent" : "";
      write(row.children[1], units[each].spoken + role);
    });
  }
  function choose(place) {
    chosen = place;
    if (place < 0) only = false;
    belong();
    hint();
    open();
    show();
    if (place >= 0) move(place);
  }
  function go(place) {
    if (!matches(units[place])) filter.value = "";
    only = false;
    choose(place);
    list.focus();
  }
  function facts(place, whole) {
    const unit = units[place], all = make("dl", "facts");
    const add = (term, value) => {
      if (!value) return;
      const dd = make("dd");
      dd.append(value);
      all.append(make("dt", "", term), dd);
    };
    const some = (items) => {
      if (!items.length) return null;
      const ul = make("ul");
      for (const [other, words] of whole ? items : items.slice(0, 6)) {
        const li = make("li");
        if (whole && other >= 0) {
          const button = make("button", "unit", units[other].name);
          button.type = "button";
          button.addEventListener("click", () => go(other));
          li.append(button, words);
        } else {
          li.append((other >= 0 ? units[other].name : "") + words);
        }
        ul.append(li);
      }
      if (!whole && items.length > 6) ul.append(make("li", "muted", `and ${items.length - 6} more`));
      return ul;
    };
    const edges = (which) => some(unit.edges.filter(which).map((edge) => [edge.unit, edge.text]));
    const waits = unit.state === "waiting";
    add("state", unit.state + (unit.critical ? ", on the critical path" : ""));
    if (waits) add("waits for", edges((edge) => edge.met === null));
    for (const [term, value] of unit.facts) add(term, value);
    add("waited for", edges((edge) => !waits || edge.met !== null));
    if (whole) add("waited on it", some(dependents[place].map((other) => [other, ""])));
    return all;
  }
  function open() {
    details.replaceChildren();
    details.setAttribute("aria-live", "polite");
    if (chosen >= 0) {
      const top = make("div", "top"), buttons = make("span", "tools");
      const narrow = make("button"), close = make("button", "", "Close");
      narrow.type = close.type = "button";
      narrow.id = "only";
      narrow.addEventListener("click", () => { only = !only; show(); panel(); });
      close.addEventListener("click", () => { choose(-1); list.focus(); });
      buttons.append(narrow, close);
      top.append(make("h2", "", units[chosen].name), buttons);
      details.append(top, facts(chosen, true));
    }
    panel();
    details.dispatchEvent(new CustomEvent("chosen", { detail: chosen < 0 ? "" : units[chosen].name }));
  }
  function panel() {
    details.hidden = chosen < 0;
    if (chosen >= 0) {
      write($("only"), only ? "Show all units" : "Show only what belongs to it");
      const old = details.querySelector(".facts"), fresh = facts(chosen, true);
      const focused = old.contains(document.activeElement) && document.activeElement.textContent;
      if (!fresh.isEqualNode(old)) {
        details.setAttribute("aria-live", "off");  // it may change each second
        old.replaceWith(fresh);
        if (focused) ([...fresh.querySelectorAll("button")].find((each) => each.textContent === focused) || list).focus();
      }
    }
    layout();
  }
  const tell = () => tip.replaceChildren(make("h2", "", units[hinted].name), facts(hinted, false));
  function hint(place = -1, x = 0, y = 0) {
    tip.hidden = place < 0;
    const told = hinted;
    hinted = place;
    if (place < 0) return;
    if (place !== told) tell();
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16;
    const top = y + 18 + box.height > innerHeight ? y - 12 - box.height : y + 18;
    tip.style.left = `${Math.max(6, left)}px`;
    tip.style.top = `${Math.max(6, top)}px`;
  }
  function hintAt(place) {
    if (place < 0 || chosen >= 0) return hint();
    const box = rows[place].getBoundingClientRect();
    return hint(place, scroll.getBoundingClientRect().left + Number(sheet.dataset.names), box.bottom - 14);
  }

  // --- pointer ---
  const placeAt = (event) => {
    const row = event.target instanceof Element && event.target.closest(".row");
    return row ? Number(row.dataset.place) : -1;
  };
  let drag = null;
  list.addEventListener("pointermove", (event) => {
    if (!drag) hint(placeAt(event), event.clientX, event.clientY);
  });
  list.addEventListener("pointerleave", () => hint());
  list.addEventListener("click", (event) => {
    const place = placeAt(event);
    if (place >= 0 && !(drag && drag.moved)) choose(place === chosen ? -1 : place);
  });
  scroll.addEventListener("pointerdown", (event) => {
    drag = null;
    if (event.button || event.pointerType === "touch" || zoom === 1) return;
    drag = { x: event.clientX, left: scroll.scrollLeft, moved: false };
  });
  addEventListener("pointermove", (event) => {
    if (!drag || !event.buttons) return;
    if (Math.abs(event.clientX - drag.x) > 4) drag.moved = true;
    if (!drag.moved) return;
    scroll.classList.add("dragging");
    hint();
    scroll.scrollLeft = drag.left + drag.x - event.clientX;
  });
  addEventListener("pointerup", () => {
    scroll.classList.remove("dragging");
    setTimeout(() => { drag = null; });
  });
  scroll.addEventListener("wheel", (event) => {
    const onAxis = event.target instanceof Element && event.target.closest("#axis");
    if (!event.ctrlKey && !event.metaKey && !onAxis) return;
    event.preventDefault();
    zoomTo(zoom * Math.exp(-event.deltaY / 300), event.clientX - scroll.getBoundingClientRect().left);
  }, { passive: false });
  scroll.addEventListener("scroll", () => { later(); hint(); });
  $("in").addEventListener("click", () => zoomTo(zoom * 1.6));
  $("out").addEventListener("click", () => zoomTo(zoom / 1.6));
  $("fit").addEventListener("click", () => zoomTo(1));
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  filter.addEventListener("input", show);

  // --- keys ---
  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = shown.indexOf(active), page = Math.max(1, Math.floor(scroll.clientHeight / high) - 2);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1,
      PageDown: at + page, PageUp: at - page }[event.key];
    if (to !== undefined && shown.length) {
      move(shown[Math.min(shown.length - 1, Math.max(0, to))]);
      requestAnimationFrame(() => hintAt(active));
    } else if ((event.key === "Enter" || event.key === " ") && active >= 0) {
      choose(active === chosen ? -1 : active);
    } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      scroll.scrollLeft += (event.key === "ArrowLeft" ? -1 : 1) * scroll.clientWidth / 5;
    } else {
      return;
    }
    event.preventDefault();
  });
  list.addEventListener("blur", () => hint());
  filter.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "ArrowDown") {
      event.preventDefault();
      list.focus();
    }
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (!tip.hidden) hint();
      else if (filter.value) { filter.value = ""; show(); }
      else if (chosen >= 0) choose(-1);
      else return;
      list.focus();
      event.preventDefault();
    } else if (!event.target.closest || !event.target.closest("input, select")) {
      if (event.key === "/") filter.focus();
      else if (event.key === "+" || event.key === "=") zoomTo(zoom * 1.6);
      else if (event.key === "-") zoomTo(zoom / 1.6);
      else if (event.key === "0") zoomTo(1);
      else if (document.activeElement === document.body) {  // nothing has the focus yet
        if (event.key === "Tab") return;
        list.focus();
        list.dispatchEvent(new KeyboardEvent("keydown", { key: event.key }));
      } else return;
      event.preventDefault();
    }
  });
  addEventListener("resize", () => layout());

  const first = JSON.parse($("data").textContent);
  if (first) draw(first);
  return { draw, make, write };
})();
