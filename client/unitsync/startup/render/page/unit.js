/* What the server knows of the chosen unit, beside what page.js says of it. */
(() => {
  const { make, write } = timeline;
  const details = document.getElementById("details");
  let name = "", parts = null;

  details.addEventListener("chosen", (event) => {
    name = event.detail;
    if (!name) return;
    const more = make("div", "more");
    more.setAttribute("aria-live", "off");
    const fold = (title, isOpen) => {
      const box = make("details", `fold ${title.toLowerCase()}`), text = make("pre");
      box.open = isOpen;
      box.hidden = true;
      box.append(make("summary", "", title), text);
      more.append(box);
      return text;
    };
    parts = { problem: make("p"), why: fold("Why", true), log: fold("Log", true), history: fold("History", false) };
    parts.log.tabIndex = 0;
    parts.log.setAttribute("role", "region");
    parts.log.setAttribute("aria-label", `Log of ${name}`);
    more.append(parts.problem);
    details.append(more);
    ask();
  });

  async function ask() {
    if (!name) return;
    const into = parts;
    try {
      const unit = await server.ask("unit.json", { name, ...server.ofStartup() });
      for (const part of ["why", "history"]) {
        into[part].parentElement.hidden = !(unit[part] && unit[part].length);
        write(into[part], (unit[part] || []).join("\n"));
      }
      log(into.log, unit);
      write(into.problem, "");
    } catch (error) {
      write(into.problem, server.words(error));
    }
  }
  server.onfresh = ask;

  function log(box, unit) {
    box.parentElement.hidden = unit.log === null;
    write(box.previousElementSibling, unit.log_path ? `Log: ${unit.log_path}` : "Log");
    const isAtEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
    const selection = getSelection(), isSelected = !selection.isCollapsed && box.contains(selection.anchorNode);
    if (!isAtEnd || isSelected) return;  // somebody reads it
    write(box, unit.log || "(nothing)");
    box.scrollTop = box.scrollHeight;
  }
})();
