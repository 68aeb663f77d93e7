"use strict";
// The interactive chart. Plotly is unpacked and the chart drawn when its section comes near the window, not before.
{
  const form = document.querySelector("form.explorer");
  if (form) start(form);

  function start(form) {
    const data = JSON.parse(document.getElementById("explorer-data").textContent);
    const holder = form.querySelector(".plot");
    const words = document.getElementById("explorer-words");
    const controls = form.elements;
    form.hidden = false;
    for (const side of ["x", "y"]) controls[`${side}_log`].checked = data.axes[controls[side].value].log;

    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => {
      const side = event.target.name;
      if (side === "x" || side === "y") controls[`${side}_log`].checked = data.axes[event.target.value].log;
      if (side === "from" && controls.from.value > controls.to.value) controls.to.value = controls.from.value;
      if (side === "to" && controls.from.value > controls.to.value) controls.from.value = controls.to.value;
      draw();
    });
    for (const [name, checked] of [["every", true], ["none", false]]) {
      controls[name].addEventListener("click", () => {
        for (const box of form.querySelectorAll("[name=family]")) box.checked = checked;
        draw();
      });
    }

    let ready = false;
    const near = new IntersectionObserver(async (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      near.disconnect();
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
        draw();
      });
      let width = holder.clientWidth;
      new ResizeObserver(() => {
        if (holder.clientWidth === width || holder.clientWidth === 0) return;
        width = holder.clientWidth;
        draw();
      }).observe(holder);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    }, { rootMargin: "300px" });
    near.observe(form);

    // --- what is chosen ---------------------------------------------------------------------------------------------

    function axisOf(side) {
      return { name: controls[side].value, ...data.axes[controls[side].value], log: controls[`${side}_log`].checked };
    }

    function chosenNetworks() {
      const families = new Set([...form.querySelectorAll("[name=family]:checked")].map((box) => box.value));
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

    function isHighlighted(network) {
      const choice = controls.highlight.value;
      return choice === "own" ? network.own : choice === `network ${data.networks.indexOf(network)}`;
    }

    // Value of a network on an axis, in the unit of that axis; null where it cannot be drawn.
    function onAxis(network, axis, part = 0) {
      const cell = network.cells[axis.name];
      const value = cell?.[part];
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

    // --- drawing ----------------------------------------------------------------------------------------------------

    let drawn = { points: [], front: [], stairs: "" };

    async function draw() {
      const x = axisOf("x");
      const y = axisOf("y");
      const size = controls.size.value ? { name: controls.size.value, ...data.axes[controls.size.value] } : null;
      const chosen = chosenNetworks();
      const points = chosen
        .map((network) => ({ network, x: onAxis(network, x), y: onAxis(network, y) }))
        .filter((point) => point.x !== null && point.y !== null);
      const front = paretoFront(points, x, y);
      // Between two networks of the front, the cheaper one is what can be had.
      drawn = { points, front, stairs: x.better === "lower" ? "hv" : "vh" };
      describe(chosen, points, front, x, y, size);
      showRow();
      if (!ready) return;
      const colours = pageColours();
      await Plotly.react(
        holder,
        [frontLine(colours), balls(points, size), marks(points, x, y, size, colours), rings(points, colours)],
        layoutOf(points, x, y, colours),
        {
          displaylogo: false,
          displayModeBar: true,
          modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]], // none that leaves the page
          showTips: false,
        },
      );
      await fitTexts();
    }

    function frontLine(colours) {
      return {
        type: "scatter",
        mode: "lines",
        x: drawn.front.map((point) => point.x),
        y: drawn.front.map((point) => point.y),
        line: { shape: drawn.stairs, dash: "dash", width: 1.5, color: colours.muted },
        hoverinfo: "skip",
      };
    }

    function balls(points, size) {
      const values = points.map((point) => (size ? Math.max(0, point.network.cells[size.name]?.[0] ?? 0) : 0));
      const largest = Math.max(...values, 0);
      const diameter = Math.min(56, Math.max(34, holder.clientWidth / 14));
      return {
        type: "scatter",
        mode: "markers",
        x: points.map((point) => point.x),
        y: points.map((point) => point.y),
        visible: largest > 0,
        marker: {
          size: values,
          sizemode: "area",
          sizeref: (2 * largest) / diameter ** 2 || 1,
          color: points.map((point) => data.styles[point.network.family].colour),
          opacity: 0.3,
          line: { width: 0 },
        },
        hoverinfo: "skip",
      };
    }

    function marks(points, x, y, size, colours) {
      const style = (point) => data.styles[point.network.family];
      return {
        type: "scatter",
        mode: "markers",
        x: points.map((point) => point.x),
        y: points.map((point) => point.y),
        customdata: points.map((point) => point.network),
        error_x: intervals(points, x, "x", colours),
        error_y: intervals(points, y, "y", colours),
        marker: {
          size: 10,
          color: points.map((point) => style(point).colour),
          symbol: points.map((point) => style(point).symbol),
          angle: points.map((point) => style(point).angle),
          opacity: 1,
          line: { width: 0.8, color: colours.paper },
        },
        hovertext: points.map((point) => hoverOf(point.network, x, y, size)),
        hoverinfo: "text",
      };
    }

    function intervals(points, axis, side, colours) {
      const reach = (point, part) => {
        const end = onAxis(point.network, axis, part);
        return end === null ? 0 : Math.abs(end - point[side]);
      };
      return {
        type: "data",
        symmetric: false,
        arrayminus: points.map((point) => reach(point, 2)),
        array: points.map((point) => reach(point, 3)),
        width: 0,
        thickness: 1,
        color: colours.muted,
      };
    }

    function rings(points, colours) {
      const ringed = points.filter((point) => isHighlighted(point.network));
      return {
        type: "scatter",
        mode: "markers",
        x: ringed.map((point) => point.x),
        y: ringed.map((point) => point.y),
        marker: { symbol: "circle-open", size: 24, color: colours.accent, line: { width: 3 } },
        hoverinfo: "skip",
      };
    }

    function layoutOf(points, x, y, colours) {
      const axis = (it, side) => ({
        title: { text: plain(it.title), standoff: 8 },
        type: it.log ? "log" : "linear",
        range: rangeOf(points, it, side),
        tickformat: it.ticks,
        nticks: holder.clientWidth < 600 ? 6 : 10, // of a linear axis
        automargin: true,
        gridcolor: colours.line,
        linecolor: colours.muted,
        zeroline: false,
        showline: true,
        ticks: "outside",
        tickcolor: colours.muted,
      });
      const family = getComputedStyle(form).fontFamily;
      return {
        xaxis: axis(x, "x"),
        yaxis: axis(y, "y"),
        width: holder.clientWidth,
        height: holder.clientHeight,
        margin: { l: 56, r: 16, t: 34, b: 48 },
        showlegend: false,
        hovermode: "closest",
        hoverdistance: 24,
        hoverlabel: {
          align: "left",
          bgcolor: colours.paper,
          bordercolor: colours.muted,
          font: { color: colours.ink, family },
        },
        // A finger that scrolls the page must not zoom the chart.
        dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
        paper_bgcolor: colours.paper,
        plot_bgcolor: colours.paper,
        modebar: { bgcolor: "rgba(0,0,0,0)", color: colours.muted, activecolor: colours.accent },
        font: { family, size: 12, color: colours.ink },
        annotations: [],
      };
    }

    // From the smallest to the largest, with room for balls and names.
    function rangeOf(points, axis, side) {
      const values = points.map((point) => (axis.log ? Math.log10(point[side]) : point[side]));
      if (!values.length) return [0, 1];
      const low = Math.min(...values);
      const high = Math.max(...values);
      const margin = 0.1 * (high - low) || (axis.log ? 0.5 : Math.abs(high) / 10 || 1);
      return [low - margin, high + margin];
    }

    // --- ticks, and names beside the points: as many as have room ----------------------------------------------------

    async function fitTexts() {
      const area = holder.querySelector(".nsewdrag").getBBox();
      const { xaxis, yaxis } = holder.layout;
      await Plotly.relayout(holder, {
        annotations: namesWithin(area, xaxis, yaxis),
        "xaxis.tickvals": xaxis.type === "log" ? logTicks(xaxis.range, area.width, 64) : null,
        "xaxis.tickmode": xaxis.type === "log" ? "array" : "auto",
        "yaxis.tickvals": yaxis.type === "log" ? logTicks(yaxis.range, area.height, 28) : null,
        "yaxis.tickmode": yaxis.type === "log" ? "array" : "auto",
      });
    }

    // The most values on a logarithmic axis that are round and at least `gap` pixels apart.
    function logTicks([low, high], length, gap) {
      const [first, last] = [10 ** low, 10 ** high];
      const apart = (ticks) =>
        ticks.every((tick, i) => !i || Math.log10(tick / ticks[i - 1]) * length >= gap * (high - low));
      const decades = Array.from({ length: Math.floor(high) - Math.floor(low) + 1 }, (_, i) => Math.floor(low) + i);
      const within = (ticks) => ticks.filter((tick) => tick >= first && tick <= last);
      const choices = [[1, 2, 5], [1, 3], [1]].map((digits) =>
        within(decades.flatMap((power) => digits.map((digit) => digit * 10 ** power))),
      );
      for (const stride of [2, 3, 5]) choices.push(within(decades.filter((p) => p % stride === 0).map((p) => 10 ** p)));
      const found = choices.find((ticks) => ticks.length > 2 && apart(ticks));
      if (found) return found;
      // Less than about a decade: equal steps, which crowd at its upper end.
      for (let power = Math.floor(Math.log10(last - first)) - 1; ; power++) {
        for (const digit of [1, 2, 5]) {
          const step = digit * 10 ** power;
          const start = Math.ceil(first / step);
          const count = Math.max(0, Math.floor(last / step) - start + 1);
          const ticks = Array.from({ length: count }, (_, i) => Number(((start + i) * step).toPrecision(12)));
          if (apart(ticks)) return ticks;
        }
      }
    }

    function namesWithin(area, xaxis, yaxis) {
      const place = (value, axis, from, length) => {
        const [low, high] = axis.range;
        return from + ((axis.type === "log" ? Math.log10(value) : value) - low) / (high - low) * length;
      };
      const spots = drawn.points.map((point) => ({
        point,
        x: place(point.x, xaxis, area.x, area.width),
        y: place(point.y, yaxis, area.y + area.height, -area.height),
      }));
      const inside = (spot) =>
        spot.x >= area.x && spot.x <= area.x + area.width && spot.y >= area.y && spot.y <= area.y + area.height;
      const pen = document.createElement("canvas").getContext("2d");
      pen.font = `11px ${getComputedStyle(form).fontFamily}`;
      const first = (spot) => (isHighlighted(spot.point.network) ? 2 : drawn.front.includes(spot.point) ? 1 : 0);
      const boxAt = (x, y, halfWidth, halfHeight) =>
        ({ left: x - halfWidth, right: x + halfWidth, top: y - halfHeight, bottom: y + halfHeight });
      const taken = [...spots.map((spot) => boxAt(spot.x, spot.y, 7, 7)), ...boxesOfStairs(spots)];
      const annotations = [];
      for (const spot of spots.filter(inside).sort((one, other) => first(other) - first(one))) {
        const name = shortName(spot.point.network);
        const half = pen.measureText(name).width / 2 + 3;
        const away = first(spot) === 2 ? 16 : 10;
        const [across, along] = [away + half, away + 7];
        const sides = [
          [across, 0], [-across, 0], [0, -along], [0, along],
          [across, -along], [across, along], [-across, -along], [-across, along],
        ];
        for (const [dx, dy] of sides) {
          const box = boxAt(spot.x + dx, spot.y + dy, half, 8);
          const fits = box.left >= area.x && box.right <= area.x + area.width && box.top >= area.y;
          if (!fits || box.bottom > area.y + area.height) continue;
          if (taken.some((o) => o.left < box.right && o.right > box.left && o.top < box.bottom && o.bottom > box.top)) {
            continue;
          }
          taken.push(box);
          annotations.push({
            x: xaxis.type === "log" ? Math.log10(spot.point.x) : spot.point.x,
            y: yaxis.type === "log" ? Math.log10(spot.point.y) : spot.point.y,
            xshift: dx,
            yshift: -dy,
            text: plain(name),
            showarrow: false,
            font: { size: 11 },
            borderpad: 0,
          });
          break;
        }
      }
      return annotations;
    }

    // The steps of the Pareto front as thin boxes that no name may cross.
    function boxesOfStairs(spots) {
      const steps = drawn.front.map((point) => spots.find((spot) => spot.point === point));
      return steps.slice(1).flatMap((to, index) => {
        const from = steps[index];
        const corner = drawn.stairs === "hv" ? { x: to.x, y: from.y } : { x: from.x, y: to.y };
        return [[from, corner], [corner, to]].map(([one, other]) => ({
          left: Math.min(one.x, other.x) - 1,
          right: Math.max(one.x, other.x) + 1,
          top: Math.min(one.y, other.y) - 1,
          bottom: Math.max(one.y, other.y) + 1,
        }));
      });
    }

    function shortName(network) {
      const ending = `_${network.track}`;
      const bare = controls.track.value && network.name.endsWith(ending);
      const name = bare ? network.name.slice(0, -ending.length) : network.name;
      return name.length > 30 ? `${name.slice(0, 29)}…` : name;
    }

    // --- in words ---------------------------------------------------------------------------------------------------

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

    function describe(chosen, points, front, x, y, size) {
      const lost = chosen.length - points.length;
      const sentences = [
        `${points.length} of ${data.networks.length} networks drawn: ${within(y.name)} against ${within(x.name)}` +
          `${size ? `; the area of a bubble stands for ${within(size.name)}` : ""}.`,
      ];
      if (lost) sentences.push(`${lost} of the chosen ${lost === 1 ? "has" : "have"} no number for these axes.`);
      if (!x.better || !y.better || x.name === y.name) {
        sentences.push("There is no Pareto front: not both axes say which direction is better.");
      } else if (front.length) {
        const wish = (axis) => `${axis.better} ${within(axis.name)}`;
        const names = front.map((point) => point.network.name).join(", ");
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
      const title = document.createElement("h3");
      title.textContent = network.name;
      const list = document.createElement("dl");
      const facts = [["Family", network.family], ["Track", network.track], ["Data set", network.dataset]];
      const cells = Object.entries(network.cells).map(([name, cell]) => [labelOf(name), cell[1]]);
      const notes = document.createElement("p");
      notes.className = "aside";
      notes.textContent = notesOn(cells.map(([, text]) => text)).join("; ");
      for (const [term, text] of [...facts, ...cells]) {
        const pair = document.createElement("div");
        pair.append(document.createElement("dt"), document.createElement("dd"));
        pair.firstChild.textContent = term;
        pair.lastChild.textContent = text;
        list.append(pair);
      }
      box.replaceChildren(title, list, notes);
    }

    function pageColours() {
      const style = getComputedStyle(document.documentElement);
      const names = ["ink", "muted", "line", "paper", "accent"];
      return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    }
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
