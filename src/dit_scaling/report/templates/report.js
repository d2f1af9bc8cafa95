(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("js");

  // Values on hover and focus: the points' titles move into one tip; a figure is one tab stop, arrows go on.
  const tip = document.getElementById("tip");
  const points = all(".pt");
  let current = null;
  for (const point of points) {
    const title = point.querySelector("title");
    point.dataset.told = title.textContent;
    point.setAttribute("aria-label", title.textContent);
    point.setAttribute("tabindex", -1);
    title.remove();
  }
  const mark = (variant, on) => {
    for (const element of all(`[data-v="${CSS.escape(variant)}"]`)) {
      element.classList.toggle(element.tagName === "TR" ? "hl" : "on", on);
    }
  };
  const hide = () => {
    if (current) mark(current.dataset.v, false);
    current = null;
    tip.hidden = true;
  };
  const show = (point) => {
    hide();
    current = point;
    mark(point.dataset.v, true);
    tip.textContent = "";
    point.dataset.told.split("\n").forEach((line, number) => {
      const element = document.createElement(number ? "div" : "b");
      element.textContent = line;
      tip.append(element);
    });
    tip.hidden = false;
    const box = point.querySelector(".hit").getBoundingClientRect();
    const most = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(8, Math.min(box.left + box.width / 2 - tip.offsetWidth / 2, most)) + scrollX}px`;
    tip.style.top = `${(above < 0 ? box.bottom + 8 : above) + scrollY}px`;
  };
  const stops = () => {
    for (const chart of all(".chart")) {
      const left = all(".pt:not(.off)", chart);
      if (left.length && !left.some((point) => point.getAttribute("tabindex") === "0")) left[0].setAttribute("tabindex", 0);
    }
  };
  for (const point of points) {
    point.addEventListener("pointerenter", () => show(point));
    point.addEventListener("pointerleave", hide);
    point.addEventListener("focus", () => show(point));
    point.addEventListener("blur", hide);
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const from = document.activeElement;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || !from.classList.contains("pt")) return;
    event.preventDefault();
    const left = all(".pt:not(.off)", from.closest("svg"));
    const next = left[(left.indexOf(from) + step + left.length) % left.length];
    from.setAttribute("tabindex", -1);
    next.setAttribute("tabindex", 0);
    next.focus();
  });

  // Variants on and off, in all figures at once: lines close over what is left.
  const off = new Set();
  const draw = () => {
    all(".pt, .pl, .curve").forEach((element) => element.classList.toggle("off", off.has(element.dataset.v)));
    all("[data-w]").forEach((button) => button.setAttribute("aria-pressed", !off.has(button.dataset.w)));
    for (const group of all(".toggles div")) {
      const some = all("[data-w]", group).some((button) => !off.has(button.dataset.w));
      group.querySelector(".whole").setAttribute("aria-pressed", some);
    }
    for (const line of all("[data-p]")) {
      const places = line.dataset.p.split(" ").map((place) => place.split("="));
      line.setAttribute("points", places.filter(([variant]) => !off.has(variant)).map(([, place]) => place).join(" "));
    }
    for (const name of all("[data-members]")) {
      name.classList.toggle("off", name.dataset.members.split(" ").every((variant) => off.has(variant)));
    }
    stops();
  };
  for (const button of all(".toggles button")) {
    button.addEventListener("click", () => {
      const group = all("[data-w]", button.parentElement).map((member) => member.dataset.w);
      const members = button.dataset.w ? [button.dataset.w] : group;
      const hidden = members.some((variant) => !off.has(variant));
      members.forEach((variant) => (hidden ? off.add(variant) : off.delete(variant)));
      draw();
    });
  }
  stops();

  // Rows mark their variant's points; tables are sorted by a heading.
  for (const row of all("tr[data-v]")) {
    row.addEventListener("pointerenter", () => mark(row.dataset.v, true));
    row.addEventListener("pointerleave", () => mark(row.dataset.v, false));
  }
  for (const table of all("table.sort")) {
    if (table.tBodies[0].rows.length < 2) continue;
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[column].dataset.k ?? row.cells[column].textContent;
        const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b);
        const rows = all("tbody tr", table).sort((a, b) => (up ? 1 : -1) * compare(key(a), key(b)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // The contents show where the reader is; links open the fold that they lead to.
  if ("IntersectionObserver" in window) {
    const seen = (entries) => {
      for (const entry of entries.filter((entry) => entry.isIntersecting)) {
        for (const link of all(".toc a")) {
          if (link.hash === `#${entry.target.id}`) link.setAttribute("aria-current", "true");
          else link.removeAttribute("aria-current");
        }
      }
    };
    const observer = new IntersectionObserver(seen, { rootMargin: "-10% 0px -80% 0px" });
    all("#verdicts, main section").forEach((section) => observer.observe(section));
  }
  all(".menu a").forEach((link) => link.addEventListener("click", () => (link.closest("details").open = false)));
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.matches("details")) target.open = true;
  };
  addEventListener("hashchange", open);
  open();

  // Print opens what is folded.
  let closed = [];
  addEventListener("beforeprint", () => {
    hide();
    closed = all("details:not([open]):not(.menu)");
    closed.forEach((fold) => (fold.open = true));
  });
  addEventListener("afterprint", () => closed.forEach((fold) => (fold.open = false)));
})();
