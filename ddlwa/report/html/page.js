// Lists the invocations of a report, and draws a timeline when one is opened.
"use strict";
(() => {
  const PAGE = 50;
  const DELIVERED = 1, BACKGROUND = 2;
  const LABEL_FROM = 0.14; // of the width: what is narrower has no room for its label
  const data = JSON.parse(document.getElementById("data").textContent);
  const filters = document.getElementById("filters");
  const rows = document.getElementById("rows");
  const heading = document.getElementById("invocations");
  const more = document.getElementById("more");
  let matching = [];
  let shown = 0;

  // As ddlwa/report/units.py writes them.
  function duration(ns) {
    if (ns < 0) return `-${duration(-ns)}`;
    if (ns < 1e3) return `${ns} ns`;
    if (ns < 1e6) return `${figures(ns / 1e3)} µs`;
    if (ns < 1e9) return `${figures(ns / 1e6)} ms`;
    if (ns < 6e10) return `${figures(ns / 1e9)} s`;
    const seconds = even(ns / 1e9);
    const minutes = Math.floor(seconds / 60);
    return minutes < 60 ? `${minutes}m ${seconds % 60}s` : `${Math.floor(minutes / 60)}h ${minutes % 60}m`;
  }

  function figures(value) {
    const digits = value < 10 ? 1 : 0;
    const tie = (value * (digits ? 4 : 2)) % 2 === 1; // which toFixed would round up, and Python to the even neighbour
    return (tie ? even(value * 10 ** digits) / 10 ** digits : value).toFixed(digits);
  }

  function even(value) {
    const near = Math.round(value);
    return near - value === 0.5 && near % 2 ? near - 1 : near;
  }

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const code = (text) => make("code", {}, text);

  function mark(right, text) {
    return make("span", { class: `mark ${right ? "good" : "bad"}` },
      make("span", { "aria-hidden": "true" }, right ? "✓" : "✗"), ` ${text}`);
  }

  function unpack(packed) {
    if (packed === null) return null;
    const [status, stretches, spans, findings] = packed;
    return {
      status, findings: findings.map(([fault, message]) => [data.texts[fault], data.texts[message]]),
      stretches: stretches.map(([length, freezes]) => ({ length, freezes })),
      spans: spans.map(([name, resource, depth, start, end, duration, frozen, flags]) => ({
        name: data.texts[name], resource: data.texts[resource], depth, start, end, duration, frozen,
        delivered: Boolean(flags & DELIVERED), background: Boolean(flags & BACKGROUND),
      })),
    };
  }

  const faults = (side) => [...new Set(side.findings.map(([fault]) => fault))].join(", ");

  // --- a timeline

  // Places moments: `share` of the time that ran at most on either side, and `freezes` of a fixed width each.
  function scale(side, ranMost) {
    return (moment) => {
      let share = 0, freezes = 0, left = Math.max(moment, 0);
      for (const one of side.stretches) {
        const part = Math.min(left / one.length, 1);
        if (one.freezes) freezes += part;
        else share += (part * one.length) / ranMost;
        left -= one.length;
        if (left <= 0) break;
      }
      return { share, freezes };
    };
  }

  const ranIn = (side) => side.stretches.reduce((sum, one) => sum + (one.freezes ? 0 : one.length), 0);
  const freezesIn = (side) => side.stretches.filter((one) => one.freezes).length;

  function length(place, most) {
    // A share is of what the freezes leave.
    return `calc(${place.share * 100}% + ${place.freezes - place.share * most} * var(--cold))`;
  }

  function put(element, from, to, most) {
    element.style.left = length(from, most);
    element.style.width = length({ share: to.share - from.share, freezes: to.freezes - from.freezes }, most);
    return element;
  }

  function bounds(side) {
    let at = 0;
    return side.stretches.map((one) => ({ ...one, from: at, to: (at += one.length) }));
  }

  function said(one) {
    if (one.freezes > 1) return `frozen ${one.freezes} times, ${duration(one.length)}`;
    return one.freezes ? `frozen ${duration(one.length)}` : `ran ${duration(one.length)}`;
  }

  function axis(side, place, most) {
    const header = make("th", { class: "axis", role: "columnheader", scope: "col" },
      make("b", { class: "unseen" }, `Timeline: ${side.stretches.map(said).join(", ")}`));
    for (const one of bounds(side)) {
      const [from, to] = [place(one.from), place(one.to)];
      const part = make("span", { class: one.freezes ? "cold" : "ran", title: said(one), "aria-hidden": "true" });
      if (one.freezes) part.append("frozen", make("br", {}), one.freezes > 1 ? `${one.freezes} times` : duration(one.length));
      else if (to.share - from.share > LABEL_FROM) part.append("ran", make("br", {}), duration(one.length));
      header.append(put(part, from, to, most));
    }
    return header;
  }

  function bands(side, place, most) {
    const stops = [];
    for (const one of bounds(side)) {
      const [from, to] = [length(place(one.from), most), length(place(one.to), most)];
      if (!one.freezes) stops.push(`var(--ran) ${from} ${to}`);
      else stops.push(`var(--ice-edge) ${from} calc(${from} + 1px)`, `var(--ice) calc(${from} + 1px) calc(${to} - 1px)`,
        `var(--ice-edge) calc(${to} - 1px) ${to}`);
    }
    const end = length(place(Infinity), most);
    return `linear-gradient(90deg, ${stops.join(", ")}, transparent ${end})`;
  }

  function track(span, side, place, most) {
    const cell = make("td", { class: "track", role: "cell" });
    cell.append(make("span", { class: "unseen" }, `begins after ${duration(span.start)}`));
    for (const one of bounds(side)) {
      const from = Math.max(span.start, one.from, 0), to = Math.min(span.end, one.to);
      const here = to > from || (span.end === span.start && from === to && !one.freezes);
      if (!here || (one.freezes && to - from < one.length / 100)) continue;
      const kind = one.freezes ? (span.frozen > 0 ? "counted" : "uncounted") : span.background ? "background" : "";
      const bar = make("span", { class: `bar ${kind}`, "aria-hidden": "true" });
      cell.append(put(bar, place(from), place(to), most));
    }
    return cell;
  }

  function row(span, side, place, most) {
    const name = make("th", { class: "name", role: "rowheader", scope: "row" }, code(span.name));
    name.style.setProperty("--depth", Math.min(span.depth, 8));
    if (span.resource && span.resource !== span.name) name.append(" ", make("span", { class: "quiet" }, code(span.resource)));
    if (span.background) name.append(make("span", { class: "unseen" }, ", after the response"));
    else if (!span.delivered) name.append(" ", make("span", { class: "tag" }, "late"));
    const frozen = make("td", { class: `number ${span.frozen ? "frozen" : "quiet"}`, role: "cell" },
      span.frozen ? duration(span.frozen) : "0");
    return make("tr", { role: "row" }, name,
      make("td", { class: "number", role: "cell" }, duration(span.duration)),
      frozen, track(span, side, place, most));
  }

  function timeline(side, ranMost, most) {
    const place = scale(side, ranMost);
    const heading = (text) => make("th", { class: text === "Span" ? "" : "number", role: "columnheader", scope: "col" }, text);
    const table = make("table", { class: "trace", role: "table" },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" },
        heading("Span"), heading("Recorded"), heading("Frozen"), axis(side, place, most))),
      make("tbody", { role: "rowgroup" }, ...side.spans.map((span) => row(span, side, place, most))));
    table.style.setProperty("--cold", `min(4.5rem, ${most ? 45 / most : 0}%)`);
    table.style.setProperty("--bands", bands(side, place, most));
    return table;
  }

  function draw(details, sides) {
    const there = sides.filter((side) => side !== null);
    const ranMost = Math.max(1, ...there.map(ranIn));
    const most = Math.max(0, ...there.map(freezesIn));
    sides.forEach((side, index) => {
      const section = make("div", { class: "side" });
      const heading = make("h3", {}, data.labels[index]);
      section.append(heading);
      if (side === null) {
        heading.append(" ", make("span", { class: "quiet" }, "does not have it"));
      } else {
        heading.append(mark(!side.findings.length, faults(side) || "right"));
        if (side.spans.length) section.append(timeline(side, ranMost, most));
        else section.append(make("p", { class: "quiet" }, "No span arrived."));
        if (side.findings.length) section.append(make("ul", {}, ...side.findings.map(([, text]) => make("li", {}, text))));
      }
      details.append(section);
    });
  }

  // --- the list

  function verdict(side, index) {
    const cell = make("span", { class: "verdict" });
    if (side === null) return cell;
    const longest = side.spans.reduce((most, span) => Math.max(most, span.duration), -Infinity);
    const name = data.labels.length > 1 ? `${data.labels[index]} ` : "";
    cell.append(make("span", { class: "quiet" }, `${name}${side.spans.length ? duration(longest) : "no span"}`),
      mark(!side.findings.length, data.labels.length > 1 ? (side.findings.length ? "wrong" : "right") : faults(side) || "right"));
    return cell;
  }

  function invocation([number, route, ...packed]) {
    const sides = packed.map(unpack);
    const judged = sides[sides.length - 1] || sides.find((side) => side !== null);
    const summary = make("summary", {},
      make("span", { class: "nth" }, number ? `#${number}` : ""), code(data.texts[route]),
      make("span", { class: "status" }, number ? String(judged.status === null ? "none" : judged.status) : ""),
      ...sides.map(verdict));
    const details = make("details", { class: `invocation ${sides.length > 1 ? "two" : "one"}`, "data-number": number }, summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) draw(details, sides);
      if (details.dataset.asked !== "no") remember("open", details.open && number ? String(number) : "");
      delete details.dataset.asked;
    });
    return details;
  }

  function open(details) {
    details.dataset.asked = "no"; // by the page, not by its reader: the address stays
    details.open = true;
  }

  function extend(count) {
    const first = shown;
    shown = Math.min(matching.length, shown + count);
    rows.append(...matching.slice(first, shown).map(invocation));
    more.hidden = shown === matching.length;
    more.textContent = `Show ${Math.min(PAGE, matching.length - shown)} more`;
    document.getElementById("shown").textContent = matching.length
      ? `${shown.toLocaleString("en")} of ${matching.length.toLocaleString("en")} shown`
      : "No invocation matches.";
    return rows.children[first];
  }

  // --- the address: #route=GET /items&wrong=ddlwa&open=7

  const asked = () => new URLSearchParams(location.hash.slice(1));

  function remember(name, value) {
    const params = asked();
    if (value) params.set(name, value);
    else params.delete(name);
    history.replaceState(null, "", `#${params}`);
  }

  function select(field, value) {
    field.value = value || "";
    if (field.selectedIndex < 0) field.value = ""; // an address of another report
    return field.value;
  }

  const isWrong = (packed) => packed !== null && packed[3].length > 0;

  function apply() {
    const params = asked();
    const route = select(filters.elements.route, params.get("route"));
    const wrong = data.modes.indexOf(select(filters.elements.wrong, params.get("wrong")));
    matching = data.rows.filter((one) =>
      (!route || data.texts[one[1]] === route) && (wrong < 0 || isWrong(one[2 + wrong])));
    rows.replaceChildren();
    shown = 0;
    const target = matching.findIndex((one) => String(one[0]) === params.get("open"));
    extend(Math.max(PAGE, target + 1));
    const worth = matching.slice(0, shown).findIndex((one) => isWrong(one[one.length - 1]));
    const details = rows.children[target < 0 ? Math.max(worth, 0) : target];
    if (details) open(details);
    return target < 0 ? null : details;
  }

  function follow() {
    const details = apply();
    const params = asked();
    if (details) details.firstChild.focus();
    else if (params.has("route") || params.has("wrong")) heading.focus();
  }

  filters.addEventListener("change", () => {
    for (const name of ["route", "wrong"]) remember(name, filters.elements[name].value);
    remember("open", "");
    apply();
  });
  filters.addEventListener("reset", (event) => {
    event.preventDefault();
    history.replaceState(null, "", "#");
    apply();
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => extend(PAGE).firstChild.focus());
  addEventListener("hashchange", follow);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // or the address would lose what is asked for
    heading.focus();
  });
  document.getElementById("instead").hidden = true;
  document.getElementById("app").hidden = false;
  apply();
})();
