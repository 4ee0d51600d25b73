// Draws the plots and the IOVA maps of a replay report from the JSON block in the page. Every word that comes from the
// recording goes through textContent or a canvas, never through HTML.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const font = '14px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
  const live = [];

  // ---- words for numbers
  const bytes = v => {
    if (v == null) return "–";
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let u = 0;
    while (Math.abs(v) >= 1024 && u < units.length - 1) { v /= 1024; u++; }
    return (Number.isInteger(v) ? v : v.toPrecision(3).replace(/\.?0+$/, "")) + " " + units[u];
  };
  const count = v => v == null ? "–" : v >= 1e6 ? +(v / 1e6).toPrecision(3) + " M" : v >= 1e4 ? +(v / 1e3).toPrecision(3) + " k" : String(+v.toPrecision(4));
  const percent = v => v == null ? "–" : (v > 99.99 && v < 100 ? ">99.99" : v.toFixed(2)) + " %";
  const span = data.interval * data.count;
  const seconds = v => v == null ? "–" : +v.toFixed(span < 1 ? 6 : span < 20 ? 3 : 2) + " s";
  const tick = v => +v.toPrecision(10) + " s";

  // ---- series
  // Joins neighbours so that at most `most` points are left; a wide plot of a short recording keeps them all.
  const joined = (values, most, join) => {
    const each = Math.max(1, Math.ceil(values.length / most));
    const out = [];
    for (let i = 0; i < values.length; i += each) out.push(join(values.slice(i, i + each)));
    return out;
  };
  const sum = part => part.reduce((a, b) => a + b, 0);
  const times = most => {
    const each = Math.max(1, Math.ceil(data.count / most));
    const out = [];
    for (let i = 0; i < data.count; i += each) out.push(i * data.interval);
    return { x: out, width: each * data.interval };
  };

  const marks = () => ({
    hooks: {
      drawAxes: [u => {
        const { ctx } = u, ratio = devicePixelRatio;
        ctx.save();
        ctx.strokeStyle = css("--line");
        ctx.fillStyle = css("--soft");
        ctx.lineWidth = ratio;
        ctx.font = font.replace("14px", 14 * ratio + "px");
        ctx.textAlign = "left";
        ctx.textBaseline = "top";
        let free = -Infinity;
        data.marks.forEach((t, i) => {
          const x = Math.round(u.valToPos(t, "x", true));
          if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return;
          const text = String(i + 1), w = ctx.measureText(text).width;
          ctx.setLineDash([2 * ratio, 3 * ratio]);
          ctx.beginPath(); ctx.moveTo(x, u.bbox.top); ctx.lineTo(x, u.bbox.top + u.bbox.height); ctx.stroke();
          if (x > free && x + w + 3 * ratio < u.bbox.left + u.bbox.width) {
            ctx.fillText(text, x + 3 * ratio, u.bbox.top - 17 * ratio);
            free = x + w + 8 * ratio;
          }
        });
        ctx.restore();
      }],
    },
  });

  const axis = more => Object.assign({
    stroke: css("--soft"), font, labelFont: font, grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--line"), width: 1, size: 5 },
  }, more);
  const line = (label, colour, value, more) => Object.assign({
    label, stroke: colour, width: 1.75, value: (u, v) => value(v), points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }),
  }, more);

  const draw = (host, name) => {
    const build = recipes[name];
    const box = document.createElement("div");
    host.append(box);
    let plot = null;
    const make = () => {
      plot?.destroy();
      const width = Math.max(200, Math.floor(host.clientWidth));
      const [options, columns] = build(host, make);
      plot = new uPlot(Object.assign({
        width, height: width < 500 ? 240 : 280, padding: [data.marks.length ? 22 : 10, 12, 0, 0],
        cursor: { sync: { key: "time" }, points: { size: 7 }, drag: { x: true, y: false } }, legend: { live: true },
        plugins: data.marks.length ? [marks()] : [],
      }, options), columns, box);
    };
    make();
    let last = host.clientWidth;
    new ResizeObserver(() => {
      if (Math.abs(host.clientWidth - last) < 1) return;
      last = host.clientWidth;
      plot.setSize({ width: Math.max(200, Math.floor(last)), height: last < 500 ? 240 : 280 });
    }).observe(host);
    live.push(make);
  };

  const xAxis = () => axis({ values: (u, ticks) => ticks.map(tick), space: 70 });
  const xSeries = { label: "time", value: (u, v) => seconds(v) };

  const recipes = {
    memory(host, again) {
      const peaks = data.devices.map(d => Math.max(...d.live)).sort((a, b) => a - b);
      if (host.dataset.scale === undefined) {
        // One device that holds far more than the others would press these onto the axis.
        host.dataset.scale = peaks.length > 1 && peaks[peaks.length - 1] > 12 * peaks[0] ? "log" : "linear";
        const bar = document.createElement("div");
        bar.className = "switch";
        bar.setAttribute("role", "group");
        bar.setAttribute("aria-label", "Scale of the plot");
        for (const scale of ["linear", "log"]) {
          const button = document.createElement("button");
          button.type = "button";
          button.textContent = scale === "log" ? "Logarithmic" : "Linear";
          button.dataset.scale = scale;
          button.addEventListener("click", () => { host.dataset.scale = scale; again(); });
          bar.append(button);
        }
        host.prepend(bar);
      }
      for (const b of host.querySelectorAll(".switch button")) b.setAttribute("aria-pressed", b.dataset.scale === host.dataset.scale);
      const log = host.dataset.scale === "log";
      const powers = (u, i, min, max) => {
        const out = [0];
        let step = 4;
        for (let v = 4096; v <= max; v *= step) out.push(v);
        if (out.length > 8) return out.filter((v, i) => i === 0 || i % 2 === 1);
        return out;
      };
      const binary = [];
      for (let k = 0; k < 50; k++) binary.push(2 ** k);
      return [{
        scales: { x: { time: false }, y: log ? { distr: 4, asinh: 4096, range: (u, min, max) => [0, max * 1.6 || 1] } : { range: (u, min, max) => [0, max * 1.06 || 1] } },
        axes: [xAxis(), axis(Object.assign({ size: 76, values: (u, ticks) => ticks.map(bytes) }, log ? { splits: powers, filter: (u, splits) => splits } : { incrs: binary, space: 40 }))],
        series: [xSeries,
          line("all devices", css("--s0"), bytes, { width: 1.5, fill: log ? undefined : css("--grid") }),
          ...data.devices.map((d, i) => line(d.name, css("--s" + (i % 6 + 1)), bytes)),
          line("page tables", css("--s7"), bytes, { dash: [6, 4] })],
      }, [times(Infinity).x, data.live, ...data.devices.map(d => d.live), data.tables]];
    },

    iotlb() {
      const most = 240, { x } = times(most);
      const hits = joined(data.hits, most, sum), misses = joined(data.misses, most, sum);
      const ratio = hits.map((h, i) => h + misses[i] === 0 ? null : 100 * h / (h + misses[i]));
      const all = hits.map((h, i) => h + misses[i]);
      return [{
        scales: { x: { time: false }, y: { range: [0, 102] }, n: { range: (u, min, max) => [0, max * 2.5 || 1] } },
        axes: [xAxis(), axis({ size: 62, values: (u, ticks) => ticks.map(v => v + " %"), splits: () => [0, 25, 50, 75, 100] })],
        series: [xSeries,
          { label: "look-ups", scale: "n", stroke: css("--s7"), fill: css("--line"), width: 0, value: (u, v) => count(v), points: { show: false },
            paths: uPlot.paths.bars({ size: [1, Infinity], align: 1 }) },
          line("hit ratio", css("--s1"), percent, { points: { show: true, size: 3, fill: css("--s1"), width: 0, filter: lonely(ratio) } }),
          line("over the whole run", css("--s2"), percent, { dash: [6, 4], width: 1.5 })],
      }, [x, all, ratio, x.map(() => data.hitRatio * 100)]];
    },

    invalidations() {
      const most = 240, { x, width } = times(most);
      const rate = values => joined(values, most, part => sum(part) / width);
      const text = v => v == null ? "–" : count(v) + " /s";
      return [{
        scales: { x: { time: false }, y: { range: (u, min, max) => [0, max * 1.08 || 1] } },
        axes: [xAxis(), axis({ size: 76, values: (u, ticks) => ticks.map(v => count(v) + " /s") })],
        series: [xSeries,
          line("commands", css("--s1"), text, { fill: css("--grid") }),
          line("entries removed", css("--s3"), text),
          line("in the recording", css("--s2"), text, { dash: [6, 4] })],
      }, [x, rate(data.commands), rate(data.removed), rate(data.recorded)]];
    },
  };

  // Values with no neighbour on either side make no line: they are shown as points.
  const lonely = values => () => {
    const out = [];
    values.forEach((v, i) => { if (v != null && values[i - 1] == null && values[i + 1] == null) out.push(i); });
    return out;
  };

  // ---- IOVA maps
  const rgb = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
  const heat = () => {
    const stops = ["--heat-0", "--heat-1", "--heat-2"].map(n => rgb(css(n)));
    const table = [];
    for (let p = 0; p <= 100; p++) {
      const f = p / 50, i = Math.min(1, Math.floor(f)), g = f - i;
      table.push(stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * g)));
    }
    return table;
  };

  const map = (canvas, m) => {
    const output = canvas.closest("figure").querySelector("output");
    const bands = m.rows.map(([start, text]) => ({ start: BigInt(start), percent: Uint8Array.from(atob(text), c => c.charCodeAt(0)) })).reverse();
    const columns = Math.max(1, bands[0]?.percent.length ?? 1);
    const end = m.start + columns * m.column;
    const height = Math.max(130, Math.min(260, bands.length * 6));
    let at = null;

    const render = () => {
      const ratio = devicePixelRatio, width = canvas.parentElement.clientWidth;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round((height + 24) * ratio);
      canvas.style.height = height + 24 + "px";
      const ctx = canvas.getContext("2d"), colours = heat();
      ctx.scale(ratio, ratio);
      const cell = width / columns, row = height / bands.length;
      bands.forEach((band, r) => {
        const y0 = Math.round(r * row), y1 = Math.max(y0 + 1, Math.round((r + 1) * row));
        for (let c = 0; c < columns; c++) {
          const p = band.percent[c];
          if (!p) continue;
          const x0 = Math.floor(c * cell), x1 = Math.max(x0 + 1, Math.ceil((c + 1) * cell));
          ctx.fillStyle = `rgb(${colours[p].join()})`;
          ctx.fillRect(x0, y0, x1 - x0, y1 - y0);
        }
        if (r > 0 && bands[r - 1].start - band.start !== BigInt(m.band)) {
          ctx.fillStyle = css("--s2");
          ctx.fillRect(0, y0, width, 1);
        }
      });
      ctx.fillStyle = css("--card");
      ctx.fillRect(0, height, width, 24);
      ctx.fillStyle = css("--line");
      ctx.fillRect(0, height, width, 1);
      ctx.fillStyle = css("--soft");
      ctx.font = font;
      ctx.textBaseline = "top";
      for (const [share, align] of [[0, "left"], [.5, "center"], [1, "right"]]) {
        ctx.textAlign = align;
        ctx.fillText(seconds(+(m.start + share * (end - m.start)).toPrecision(3)), align === "left" ? 2 : align === "right" ? width - 2 : width / 2, height + 6);
      }
      if (at) {
        ctx.strokeStyle = css("--s2");
        ctx.lineWidth = 2;
        ctx.strokeRect(at.c * cell - 1, at.r * row - 1, Math.max(4, cell + 2), Math.max(4, row + 2));
      }
    };

    const show = (r, c) => {
      at = { r: Math.max(0, Math.min(bands.length - 1, r)), c: Math.max(0, Math.min(columns - 1, c)) };
      const band = bands[at.r], last = band.start + BigInt(m.band) - 1n;
      output.textContent = `0x${band.start.toString(16)} to 0x${last.toString(16)} at ${seconds(m.start + at.c * m.column)}: ${band.percent[at.c]} % mapped`;
      render();
    };
    const point = e => {
      const box = canvas.getBoundingClientRect();
      show(Math.floor((e.clientY - box.top) / (height / bands.length)), Math.floor((e.clientX - box.left) / (box.width / columns)));
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("pointerleave", () => { at = null; output.textContent = "\u00a0"; render(); });
    canvas.addEventListener("keydown", e => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key];
      if (!step) return;
      e.preventDefault();
      show((at?.r ?? 0) + step[0], (at?.c ?? 0) + step[1]);
    });
    render();
    let last = canvas.parentElement.clientWidth;
    new ResizeObserver(() => {
      if (canvas.parentElement.clientWidth !== last) { last = canvas.parentElement.clientWidth; render(); }
    }).observe(canvas.parentElement);
    live.push(render);
  };

  if (data.count > 0) {
    for (const host of document.querySelectorAll("[data-plot]")) draw(host, host.dataset.plot);
  } else {
    for (const host of document.querySelectorAll("[data-plot]")) { host.textContent = "The recording has no time to plot."; host.style.minHeight = "0"; }
  }
  for (const canvas of document.querySelectorAll("canvas[data-map]")) map(canvas, data.maps[+canvas.dataset.map]);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => live.forEach(redraw => redraw()));
  document.documentElement.dataset.drawn = "true";
})();
