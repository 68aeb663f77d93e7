"use strict";
// The interactive chart. Plotly is unpacked and the chart drawn when its section comes near the window, not before.
{
  const form = document.querySelector("form.explorer");
  const controls = form?.elements;
  const data = form && JSON.parse(document.getElementById("explorer-data").textContent);
  const holder = form?.querySelector(".plot");
  const words = document.getElementById("explorer-words");
  let ready = false; // Plotly is loaded
  let drawn = { points: [], front: [], stairs: "hv" };
  if (form) start();

  function start() {
    form.hidden = false;
    setScale("x");
    setScale("y");
    comeFromAddress();
    addEventListener("hashchange", () => comeFromAddress() && draw());
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => changed(event.target.name));
    for (const [name, checked] of [["every", true], ["none", false]]) {
      controls[name].addEventListener("click", () => {
        for (const box of familyBoxes()) box.checked = checked;
        changed("family");
      });
    }
    new IntersectionObserver(async (entries, observer) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      await firstDrawing();
    }, { rootMargin: "300px" }).observe(form);
  }

  async function firstDrawing() {
    words.textContent = "Drawing the chart …";
    try {
      await loadPlotly();
    } catch (reason) {
      words.textContent = `This browser cannot draw the chart (${reason.message}); its numbers are in the tables.`;
      return;
    }
    ready = true;
    await draw();
    holder.on("plotly_relayout", (change) => {
      if (Object.keys(change).some((key) => /axis\.(auto)?range/.test(key))) fitTexts();
    });
    holder.on("plotly_click", (event) => {
      controls.highlight.value = `network ${data.networks.indexOf(event.points[0].customdata)}`;
      changed("highlight");
    });
    let width = holder.clientWidth;
    new ResizeObserver(() => {
      if (holder.clientWidth === width || holder.clientWidth === 0) return;
      width = holder.clientWidth;
      draw();
    }).observe(holder);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  function changed(name) {
    if (name === "x" || name === "y") setScale(name);
    if (name === "track") useAxesOfTrack();
    if (name === "from" && controls.from.value > controls.to.value) controls.to.value = controls.from.value;
    if (name === "to" && controls.from.value > controls.to.value) controls.from.value = controls.to.value;
    writeAddress();
    draw();
  }

  // --- what is chosen -------------------------------------------------------------------------------------------------

  function familyBoxes() {
    return [...form.querySelectorAll("[name=family]")];
  }

  // Whether the axis of a metric is logarithmic at first.
  function setScale(side) {
    controls[`${side}_log`].checked = data.axes[controls[side].value].log;
  }

  // A track of which fewer than two networks have both axes is shown on those that it has.
  function useAxesOfTrack() {
    const start = data.starts[controls.track.value];
    if (!start || chosenPoints(axisOf("x"), axisOf("y")).length > 1) return;
    for (const side of ["x", "y"]) {
      controls[side].value = start[side];
      setScale(side);
    }
  }

  function axisOf(side) {
    return { name: controls[side].value, ...data.axes[controls[side].value], log: controls[`${side}_log`].checked };
  }

  function chosenNetworks() {
    const families = new Set(familyBoxes().filter((box) => box.checked).map((box) => box.value));
    const from = controls.from ? Number(controls.from.value) : null;
    const to = controls.to ? Number(controls.to.value) : null;
    // A network without a year goes with every choice of years: nothing says that it is too old or too new.
    return data.networks.filter(
      (network) =>
        families.has(network.family) &&
        (!controls.track.value || network.track === controls.track.value) &&
        (!controls.dataset.value || network.dataset === controls.dataset.value) &&
        (network.year === null || from === null || (network.year >= from && network.year <= to)),
    );
  }

  function chosenPoints(x, y) {
    return chosenNetworks()
      .map((network) => ({ network, x: onAxis(network, x), y: onAxis(network, y) }))
      .filter((point) => point.x !== null && point.y !== null);
  }

  function isHighlighted(network) {
    const choice = controls.highlight.value;
    return choice === "own" ? network.own : choice === `network ${data.networks.indexOf(network)}`;
  }

  // Everything that is chosen, in the address: "#explorer?x=macs&y=top1&...", so that a link shows the same chart.
  function writeAddress() {
    const choices = new URLSearchParams();
    for (const control of controls) {
      if (control.tagName === "SELECT") choices.set(control.name, control.value);
      else if (/_log$/.test(control.name)) choices.set(control.name, Number(control.checked));
    }
    for (const box of familyBoxes()) if (!box.checked) choices.append("without", box.value);
    history.replaceState(null, "", `#explorer?${choices}`);
  }

  // Show what the address says, if it says anything of this chart; choices that this page does not have are ignored.
  function comeFromAddress() {
    const [place, query] = location.hash.split("?");
    if (place !== "#explorer" || !query) return false;
    const choices = new URLSearchParams(query);
    for (const control of controls) {
      const value = choices.get(control.name);
      if (value === null) continue;
      if (control.type === "checkbox") control.checked = value === "1";
      else if ([...control.options].some((option) => option.value === value)) control.value = value;
    }
    for (const box of familyBoxes()) box.checked = !choices.getAll("without").includes(box.value);
    for (const side of ["x", "y"]) if (!choices.has(`${side}_log`)) setScale(side);
    form.closest("section").scrollIntoView(); // whose heading the sticky navigation leaves free
    return true;
  }

  // Value of a network on an axis, in the unit of that axis; null where it cannot be drawn.
  function onAxis(network, axis, part = 0) {
    const value = network.cells[axis.name]?.[part];
    return value === undefined || (axis.log && value <= 0) ? null : value / axis.divisor;
  }

  // Networks that no other matches in both and beats in one, from left to right.
  function paretoFront(points, x, y) {
    if (!x.better || !y.better || x.name === y.name) return [];
    const sign = (axis) => (axis.better === "lower" ? 1 : -1);
    const usesAccuracy = [x.name, y.name].includes("top1");
    const costs = points
      .filter(({ network }) => !(usesAccuracy && network.atChance))
      .filter(({ network }) => ![x.name, y.name].some((name) => network.unranked.includes(name)))
      .map((point) => ({ point, a: sign(x) * point.x, b: sign(y) * point.y }));
    return costs
      .filter((one) => !costs.some((o) => o.a <= one.a && o.b <= one.b && (o.a < one.a || o.b < one.b)))
      .map((one) => one.point)
      .sort((one, other) => one.x - other.x || one.y - other.y);
  }

  // --- drawing --------------------------------------------------------------------------------------------------------

  async function draw() {
    const x = axisOf("x");
    const y = axisOf("y");
    const size = controls.size.value ? { name: controls.size.value, ...data.axes[controls.size.value] } : null;
    const chosen = chosenNetworks();
    const points = chosenPoints(x, y);
    // Between two networks of the front, the cheaper one is what can be had.
    drawn = { points, front: paretoFront(points, x, y), stairs: x.better === "lower" ? "hv" : "vh" };
    describe(chosen, x, y, size);
    showRow();
    if (!ready) return;
    const colours = pageColours();
    const traces = [frontLine(colours), balls(size), marks(x, y, size, colours), rings(colours)];
    await Plotly.react(holder, traces, layoutOf(x, y, colours), {
      displaylogo: false,
      displayModeBar: true,
      modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]], // none that leaves the page
      showTips: false,
    });
    await fitTexts();
  }

  function trace(points, facts) {
    const places = { x: points.map((point) => point.x), y: points.map((point) => point.y) };
    return { type: "scatter", mode: "markers", hoverinfo: "skip", ...places, ...facts };
  }

  function frontLine(colours) {
    const line = { shape: drawn.stairs, dash: "dash", width: 1.5, color: colours.muted };
    return trace(drawn.front, { mode: "lines", line });
  }

  function balls(size) {
    const values = drawn.points.map((point) => (size ? Math.max(0, point.network.cells[size.name]?.[0] ?? 0) : 0));
    const largest = Math.max(...values, 0);
    const diameter = Math.min(56, Math.max(34, holder.clientWidth / 14));
    const marker = {
      size: values,
      sizemode: "area",
      sizeref: (2 * largest) / diameter ** 2 || 1,
      color: drawn.points.map((point) => data.styles[point.network.family].colour),
      opacity: 0.3,
      line: { width: 0 },
    };
    return trace(drawn.points, { visible: largest > 0, marker });
  }

  function marks(x, y, size, colours) {
    const styles = drawn.points.map((point) => data.styles[point.network.family]);
    return trace(drawn.points, {
      customdata: drawn.points.map((point) => point.network),
      error_x: intervals(x, "x", colours),
      error_y: intervals(y, "y", colours),
      marker: {
        size: 10,
        color: styles.map((style) => style.colour),
        symbol: styles.map((style) => style.symbol),
        angle: styles.map((style) => style.angle),
        opacity: 1,
        line: { width: 0.8, color: colours.paper },
      },
      hovertext: drawn.points.map((point) => hoverOf(point.network, x, y, size)),
      hovertemplate: "%{hovertext}<extra></extra>",
      hoverinfo: undefined,
    });
  }

  function intervals(axis, side, colours) {
    const reach = (part) =>
      drawn.points.map((point) => Math.abs((onAxis(point.network, axis, part) ?? point[side]) - point[side]));
    const ends = { arrayminus: reach(2), array: reach(3) };
    return { type: "data", symmetric: false, ...ends, width: 0, thickness: 1, color: colours.muted };
  }

  function rings(colours) {
    const marker = { symbol: "circle-open", size: 24, color: colours.accent, line: { width: 3 } };
    return trace(drawn.points.filter((point) => isHighlighted(point.network)), { marker });
  }

  function layoutOf(x, y, colours) {
    const axis = (it, side) => ({
      title: { text: plain(it.title), standoff: 8 },
      type: it.log ? "log" : "linear",
      range: rangeOf(it, side),
      tickformat: it.ticks,
      nticks: holder.clientWidth < 600 ? 6 : 10, // of a linear axis
      minorloglabels: "complete",
      automargin: true,
      gridcolor: colours.line,
      linecolor: colours.muted,
      zeroline: false,
      showline: true,
      ticks: "outside",
      tickcolor: colours.muted,
    });
    const family = getComputedStyle(form).fontFamily;
    const { ink, paper, muted, accent } = colours;
    return {
      xaxis: axis(x, "x"),
      yaxis: axis(y, "y"),
      width: holder.clientWidth,
      height: holder.clientHeight,
      margin: { l: 56, r: 16, t: 34, b: 48 },
      showlegend: false,
      hovermode: "closest",
      hoverdistance: 24,
      hoverlabel: { align: "left", bgcolor: paper, bordercolor: muted, font: { color: ink, family } },
      // A finger that scrolls the page must not zoom the chart.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      paper_bgcolor: paper,
      plot_bgcolor: paper,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: accent },
      font: { family, size: 12, color: ink },
      annotations: [],
    };
  }

  // From the smallest to the largest, with room for balls and names.
  function rangeOf(axis, side) {
    const values = drawn.points.map((point) => (axis.log ? Math.log10(point[side]) : point[side]));
    if (!values.length) return [0, 1];
    const low = Math.min(...values);
    const high = Math.max(...values);
    const margin = 0.1 * (high - low) || (axis.log ? 0.5 : Math.abs(high) / 10 || 1);
    return [low - margin, high + margin];
  }

  function pageColours() {
    const style = getComputedStyle(document.documentElement);
    const names = ["ink", "muted", "line", "paper", "accent"];
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  // --- ticks, and names beside the points: as many as have room -------------------------------------------------------

  async function fitTexts() {
    const { xaxis, yaxis } = holder.layout;
    const area = holder.querySelector(".nsewdrag").getBBox();
    await Plotly.relayout(holder, {
      annotations: namesWithin(area, xaxis, yaxis),
      "xaxis.dtick": xaxis.type === "log" ? logStep(xaxis.range, area.width, 64) : null,
      "yaxis.dtick": yaxis.type === "log" ? logStep(yaxis.range, area.height, 28) : null,
    });
  }

  // The smallest step of a logarithmic axis, in Plotly's words, whose ticks are at least `gap` pixels apart.
  function logStep([low, high], length, gap) {
    const decade = length / (high - low);
    if (high - low < 1.2) {
      const step = 10 ** high * (1 - 10 ** (-gap / decade)); // equal steps crowd at the upper end
      const power = 10 ** Math.floor(Math.log10(step));
      return `L${power * [1, 2, 5, 10].find((digit) => digit * power >= step)}`;
    }
    return Math.log10(2) * decade >= gap ? "D2" : Math.ceil(gap / decade);
  }

  function namesWithin({ x: left, y: top, width, height }, xaxis, yaxis) {
    const area = boxOf(left, top, left + width, top + height);
    const share = (value, axis) => (scaled(value, axis) - axis.range[0]) / (axis.range[1] - axis.range[0]);
    const spots = drawn.points.map((point) => ({
      point,
      x: left + share(point.x, xaxis) * width,
      y: top + height - share(point.y, yaxis) * height,
      rank: isHighlighted(point.network) ? 2 : drawn.front.includes(point) ? 1 : 0,
    }));
    const taken = [...spots.map(({ x, y }) => boxOf(x - 7, y - 7, x + 7, y + 7)), ...boxesOfStairs(spots)];
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = `11px ${getComputedStyle(form).fontFamily}`;
    const annotations = [];
    for (const spot of spots.sort((one, other) => other.rank - one.rank)) {
      if (!contains(area, boxOf(spot.x, spot.y, spot.x, spot.y))) continue;
      const name = shortName(spot.point.network);
      const half = pen.measureText(name).width / 2 + 3;
      const away = spot.rank === 2 ? 16 : 10;
      const found = sidesOf(away + half, away + 7)
        .map(([dx, dy]) => [dx, dy, boxOf(spot.x + dx - half, spot.y + dy - 8, spot.x + dx + half, spot.y + dy + 8)])
        .find(([, , box]) => contains(area, box) && !taken.some((other) => overlap(box, other)));
      if (!found) continue;
      const [dx, dy, box] = found;
      taken.push(box);
      annotations.push({
        x: scaled(spot.point.x, xaxis),
        y: scaled(spot.point.y, yaxis),
        xshift: dx,
        yshift: -dy,
        text: plain(name),
        showarrow: false,
        font: { size: 11 },
        borderpad: 0,
      });
    }
    return annotations;
  }

  function scaled(value, axis) {
    return axis.type === "log" ? Math.log10(value) : value;
  }

  // Where a name may stand, from its point: right, left, above, below, then the corners.
  function sidesOf(across, along) {
    const corners = [[across, -along], [across, along], [-across, -along], [-across, along]];
    return [[across, 0], [-across, 0], [0, -along], [0, along], ...corners];
  }

  function boxOf(left, top, right, bottom) {
    return { left, top, right, bottom };
  }

  function contains(area, box) {
    return box.left >= area.left && box.right <= area.right && box.top >= area.top && box.bottom <= area.bottom;
  }

  function overlap(one, other) {
    return one.left < other.right && one.right > other.left && one.top < other.bottom && one.bottom > other.top;
  }

  // The steps of the Pareto front as thin boxes that no name may cross.
  function boxesOfStairs(spots) {
    const steps = drawn.front.map((point) => spots.find((spot) => spot.point === point));
    return steps.slice(1).flatMap((to, index) => {
      const from = steps[index];
      const corner = drawn.stairs === "hv" ? { x: to.x, y: from.y } : { x: from.x, y: to.y };
      return [[from, corner], [corner, to]].map(([{ x: x1, y: y1 }, { x: x2, y: y2 }]) =>
        boxOf(Math.min(x1, x2) - 1, Math.min(y1, y2) - 1, Math.max(x1, x2) + 1, Math.max(y1, y2) + 1),
      );
    });
  }

  function shortName(network) {
    const name = controls.track.value ? network.label : network.name; // of two tracks, labels may be alike
    return name.length > 30 ? `${name.slice(0, 29)}…` : name;
  }

  // --- in words -------------------------------------------------------------------------------------------------------

  function hoverOf(network, x, y, size) {
    const facts = [network.family, network.year, `${network.track} track`, network.dataset].filter((fact) => fact);
    const names = [...new Set([y.name, x.name, ...(size ? [size.name] : []), ...data.key])];
    const cells = names.filter((name) => network.cells[name]).map((name) => [name, network.cells[name]]);
    const lines = cells.map(([name, cell]) => `${labelOf(name)}: ${cell[1]}`);
    const notes = notesOn(cells.map(([, cell]) => cell[1]));
    const [name, ...rest] = [network.name, facts.join(" · "), ...lines, ...notes].flatMap((line) => wrapped(line));
    return [`<b>${plain(name)}</b>`, ...rest.map(plain)].join("<br>");
  }

  // What the symbols behind numbers mean.
  function notesOn(texts) {
    const used = Object.entries(data.marks).filter(([symbol]) => texts.some((text) => text.includes(symbol)));
    return used.map(([symbol, meaning]) => `${symbol} ${meaning}`);
  }

  function labelOf(name) {
    return data.axes[name].title.replace(/ \([^()]*\)$/, "");
  }

  // The label within a sentence: "test accuracy", but "MACs".
  function within(name) {
    const label = labelOf(name);
    return /^.[A-Z]/.test(label) ? label : label.charAt(0).toLowerCase() + label.slice(1);
  }

  function wrapped(line) {
    return line.match(/.{1,64}(?:\s|$)|.{64}/g) ?? [line];
  }

  // Text for Plotly, which takes some of HTML for itself.
  function plain(text) {
    return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }

  function describe(chosen, x, y, size) {
    const { points, front } = drawn;
    const lost = chosen.length - points.length;
    const sentences = [
      `${points.length} of ${data.networks.length} networks drawn: ${within(y.name)} against ${within(x.name)}` +
        `${size ? `; the area of a bubble stands for ${within(size.name)}` : ""}.`,
    ];
    if (lost) sentences.push(`${lost} selected ${lost === 1 ? "network was" : "networks were"} not measured on these axes.`);
    if (!x.better || !y.better || x.name === y.name) {
      sentences.push("There is no Pareto front: one of the axes has no better direction.");
    } else if (front.length) {
      const wish = (axis) => `${axis.better} ${within(axis.name)}`;
      const names = front.map((point) => shortName(point.network)).join(", ");
      sentences.push(`Pareto front (${wish(y)}, ${wish(x)}): ${names}.`);
    }
    words.textContent = sentences.join(" ");
  }

  // Every number of the one network that is highlighted: what hovering shows, for keyboards and small screens too.
  function showRow() {
    const box = form.querySelector(".row-of-network");
    const network = data.networks.find(isHighlighted);
    if (!network || controls.highlight.value === "own") {
      box.replaceChildren();
      return;
    }
    const facts = [["Family", network.family], ["Track", network.track], ["Data set", network.dataset]];
    const cells = Object.entries(network.cells).map(([name, cell]) => [labelOf(name), cell[1]]);
    const pairs = [...facts, ...cells].map(([term, text]) => element("div", "", element("dt", term), element("dd", text)));
    const notes = element("p", notesOn(cells.map(([, text]) => text)).join("; "));
    notes.className = "aside";
    box.replaceChildren(element("h3", network.name), element("dl", "", ...pairs), notes);
  }

  function element(tag, text, ...children) {
    const made = document.createElement(tag);
    made.textContent = text;
    made.append(...children);
    return made;
  }

  // Plotly is in the page as compressed text; it runs because the page's policy names its hash.
  async function loadPlotly() {
    const packed = atob(document.getElementById("plotly-packed").textContent);
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    if (!window.Plotly) throw new Error("its script was refused");
  }
}
