"use strict";
// "Pick for me": the most accurate networks within limits, judged as `bench pick` judges them.
{
  const form = document.querySelector("form.pick");
  const data = form && JSON.parse(document.getElementById("explorer-data").textContent);
  const place = { max: "at most", min: "at least" };
  if (form) start();

  function start() {
    form.hidden = false;
    comeFromAddress();
    addEventListener("hashchange", comeFromAddress);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => {
      answer();
      history.replaceState(null, "", `#pick?${choices()}`);
    });
    form.querySelector("[name=more]").addEventListener("click", () => addRow().querySelector("select").focus());
  }

  function rows() {
    return [...form.querySelectorAll(".limit")];
  }

  function addRow() {
    const row = rows()[0].cloneNode(true);
    row.querySelector("[name=bound]").value = "";
    rows().at(-1).after(row);
    return row;
  }

  // The limits that are filled in: {name, kind, word, bound}, the bound in the unit in which the page has its numbers.
  function limits() {
    const found = [];
    for (const row of rows()) {
      const [name, kind, word] = ["metric", "kind", "bound"].map((each) => row.querySelector(`[name=${each}]`).value.trim());
      const bound = numberOf(word, data.axes[name]);
      row.querySelector("[name=bound]").setAttribute("aria-invalid", word !== "" && bound === null);
      if (bound !== null) found.push({ name, kind, word, bound });
    }
    return found;
  }

  // A number in the unit of its axis, such as "5" or "20e6", or with one of those that may stand behind it, such as "20M",
  // "5ms" or "2GiB"; null where it is none.
  function numberOf(word, axis) {
    const match = word.match(/^((?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*)$/);
    const factor = match && (match[2] === "" ? axis.divisor : axis.typed[match[2]]);
    return factor ? Number(match[1].replaceAll(",", "")) * factor : null;
  }

  // --- as bench/render/findings/pick.py --------------------------------------------------------------------------------

  function select(limited, track, by) {
    let best = { judged: [] };
    for (const which of data.tracks.filter((each) => !track || each === track)) {
      for (const kind of Object.keys(data.accuracies).filter((each) => !by || each === by)) {
        const judged = judgedOf(which, kind, limited);
        if (judged.length > best.judged.length) best = { track: which, kind, judged };
      }
    }
    const met = best.judged.filter((network) => limited.every((limit) => keeps(limit, network.cells[limit.name][0])));
    const picked = met.map((network) => ({ network, doubts: limited.filter((limit) => !isCertain(limit, network)) }));
    const accuracy = ({ network }) => network.cells[best.kind][0];
    picked.sort((one, other) => accuracy(other) - accuracy(one) || one.doubts.length - other.doubts.length);
    return { ...best, picked };
  }

  // The networks with this kind of accuracy, better than chance, and with every limited metric.
  function judgedOf(track, kind, limited) {
    const needed = [kind, ...limited.map((limit) => limit.name)];
    return data.networks.filter(
      (network) =>
        network.track === track &&
        needed.every((name) => network.cells[name] && !network.unreliable.includes(name)) &&
        !(kind === "top1" && network.atChance),
    );
  }

  function keeps({ kind, bound }, value) {
    return kind === "max" ? value <= bound : value >= bound;
  }

  // Whether the whole interval keeps it; what has no interval is taken as exact.
  function isCertain(limit, network) {
    const [value, , low = value, high = value] = network.cells[limit.name];
    return keeps(limit, value) && keeps(limit, limit.kind === "max" ? high : low);
  }

  // --- in words -------------------------------------------------------------------------------------------------------

  function answer() {
    const limited = limits();
    const controls = form.elements;
    const found = select(limited, controls.track.value, controls.by.value);
    const wrong = form.querySelector("[aria-invalid=true]");
    form.querySelector("[role=status]").textContent = wrong
      ? `"${wrong.value}" is not such a number: write one${unitsFor(wrong)}.`
      : [sentence(found, limited), unjudged(found)].join(" ").trim();
    showTable(found, limited);
    const flags = limited.map(({ name, kind, word }) => ` --${kind} ${name}=${withUnit(name, word)}`).join("");
    const others = ["track", "by"].filter((name) => controls[name].value).map((name) => ` --${name} ${controls[name].value}`);
    form.querySelector("code").textContent = `python -m bench pick ${data.run}${others.join("")}${flags}`;
  }

  // As the terminal reads it, which knows nothing of the page's units.
  function withUnit(name, word, between = "") {
    const unit = data.axes[name].title.match(/\((%|[KMGT]iB|[mµ]J|ms)[^()]*\)$/)?.[1] ?? "";
    return word.replaceAll(" ", "") + (unit && /[\d.]$/.test(word) ? between + unit : "");
  }

  function unitsFor(input) {
    const units = Object.keys(data.axes[input.closest(".limit").querySelector("[name=metric]").value].typed);
    return units.length ? `, alone or with ${units.length > 1 ? "one of " : ""}${units.join(" ")}` : "";
  }

  // Without the unit, which every number of the page has with it.
  function labelOf(name) {
    return data.axes[name].title.replace(/ \([^()]*\)$/, "");
  }

  function inSentence(name) {
    const label = labelOf(name);
    return /^.[A-Z]/.test(label) ? label : label[0].toLowerCase() + label.slice(1); // but "MACs"
  }

  // A sentence on each limit that no network meets: the best value that there is.
  function nearest(judged, limited) {
    const unmet = limited.filter((limit) => !judged.some((network) => keeps(limit, network.cells[limit.name][0])));
    const said = unmet.map(({ name, kind }) => {
      const better = kind === "max" ? (one, other) => one < other : (one, other) => one > other;
      const best = judged.reduce((one, other) => (better(other.cells[name][0], one.cells[name][0]) ? other : one));
      return `${kind === "max" ? "Lowest" : "Highest"} ${inSentence(name)} here: ${best.cells[name][1]}, ${best.label} (${best.name}).`;
    });
    return said.join(" ");
  }

  function sentence({ track, kind, judged, picked }, limited) {
    if (!judged.length) return "No network of this run has an accuracy and all of these numbers.";
    const kept = limited.map(({ name, kind: how, word }) => `${inSentence(name)} ${place[how]} ${withUnit(name, word, " ")}`);
    const within = kept.length ? `with ${kept.join(" and ")}` : "without any limit";
    const only = `The only ${track} network that could be judged`;
    if (!picked.length && judged.length === 1) return `${only} does not qualify ${within}.`;
    if (!picked.length) return `None of the ${judged.length} ${track} networks qualifies ${within}. ${nearest(judged, limited)}`.trim();
    const [{ network, doubts }] = picked;
    const one = judged.length > 1 ? `The only one of ${judged.length} ${track} networks ${within}` : `${only} qualifies ${within}`;
    const first = picked.length > 1 ? `Most accurate of ${picked.length} ${track} networks ${within}` : one;
    const tied = picked.filter((other) => other.network.cells[kind][0] === network.cells[kind][0]);
    const named = (doubts.length ? [picked[0]] : tied).map((each) => `${each.network.label} (${each.network.name})`);
    const names = [named.slice(0, -1).join(", "), named.at(-1)].filter(Boolean).join(" and ");
    const unsure = doubts.length ? ", whose interval reaches beyond a limit" : "";
    const reached = `${network.cells[kind][1]} (${data.accuracies[kind]})`;
    return `${first}: ${names}${unsure}, ${reached}.`;
  }

  function unjudged({ track, kind, judged }) {
    const number = judged.length ? judgedOf(track, kind, []).length - judged.length : 0;
    if (!number) return "";
    return `${number} more ${number === 1 ? "network was" : "networks were"} not measured, or not reliably, and could not be judged.`;
  }

  function showTable({ kind, picked }, limited) {
    const holder = form.querySelector(".scroll");
    holder.hidden = !picked.length || !limited.length; // without a limit, that is the table below
    if (holder.hidden) return;
    const columns = [...new Set([kind, ...limited.map((limit) => limit.name), "params", "macs"])].filter((name) => data.axes[name]);
    const table = document.createElement("table");
    table.className = "numbers";
    const head = table.createTHead().insertRow();
    head.append(cell("th", "Network", "name"), ...columns.map((name) => cell("th", labelOf(name), "number")));
    const body = table.createTBody();
    for (const { network, doubts } of picked) {
      const name = cell("th", network.label, "name");
      name.title = network.name;
      const numbers = columns.map((column) => {
        const unsure = doubts.some((limit) => limit.name === column);
        return cell("td", `${network.cells[column]?.[1] ?? "–"}${unsure ? " ?" : ""}`, "number");
      });
      body.insertRow().append(name, ...numbers);
    }
    const marks = { ...data.marks, "?": "its 95 % interval reaches beyond the limit" }; // what no device can do is not judged
    const shown = Object.entries(marks).filter(([symbol]) => body.textContent.includes(symbol));
    const legend = cell("p", shown.map(([symbol, meaning]) => `${symbol} ${meaning}`).join("; "), "aside");
    holder.replaceChildren(table, ...(shown.length ? [legend] : []));
  }

  function cell(tag, text, kind) {
    const made = document.createElement(tag);
    made.textContent = text;
    made.className = kind;
    return made;
  }

  // --- the address: "#pick?track=cifar&max=latency_ms=5", so that a link gives the same answer ------------------------

  function choices() {
    const said = new URLSearchParams();
    for (const name of ["track", "by"]) if (form.elements[name].value) said.set(name, form.elements[name].value);
    for (const { name, kind, word } of limits()) said.append(kind, `${name}=${word}`);
    return said;
  }

  function comeFromAddress() {
    const [where, query] = location.hash.split("?");
    if (where !== "#pick" || !query) return answer();
    const said = new URLSearchParams(query);
    for (const name of ["track", "by"]) form.elements[name].value = said.get(name) ?? "";
    for (const row of rows()) row.querySelector("[name=bound]").value = "";
    const asked = ["max", "min"].flatMap((kind) => said.getAll(kind).map((each) => [kind, ...each.split("=")]));
    asked.filter(([, name]) => data.axes[name]).forEach(([kind, name, word], number) => {
      const row = rows()[number] ?? addRow();
      for (const [field, value] of [["metric", name], ["kind", kind], ["bound", word]]) {
        row.querySelector(`[name=${field}]`).value = value;
      }
    });
    answer();
    form.closest("section").scrollIntoView(); // whose heading the sticky navigation leaves free
  }
}
