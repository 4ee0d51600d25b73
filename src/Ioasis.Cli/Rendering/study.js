// Draws the curves of a study from the JSON block in the page: hit ratio against the size of the IOTLB, which grows by powers of two to
// the right. Every word that comes from a recording goes through textContent or a canvas, never through HTML.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const font = '14px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
  const entries = v => v == null ? "–" : v.toLocaleString("en-US");
  const percent = v => v == null ? "–" : v.toFixed(2) + " %";
  const redraws = [];

  const axis = more => Object.assign({
    stroke: css("--soft"), font, labelFont: font, grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--line"), width: 1, size: 5 },
  }, more);

  const draw = (host, curves) => {
    const box = document.createElement("div");
    host.append(box);
    let plot = null;
    const size = () => {
      const width = Math.max(200, Math.floor(host.clientWidth));
      return { width, height: width < 500 ? 240 : 320 };
    };
    const make = () => {
      plot?.destroy();
      const powers = [];
      for (let v = 1; v <= data.sizes[data.sizes.length - 1]; v *= size().width < 500 ? 16 : 4) powers.push(v);
      plot = new uPlot({
        ...size(), padding: [10, 28, 0, 0], cursor: { points: { size: 7 }, drag: { x: true, y: false } }, legend: { live: true },
        scales: { x: { time: false, distr: 3, log: 2 }, y: { range: [0, 102] } },
        axes: [
          axis({ splits: () => powers, values: (u, ticks) => ticks.map(entries), filter: (u, ticks) => ticks }),
          axis({ size: 62, splits: () => [0, 25, 50, 75, 100], values: (u, ticks) => ticks.map(v => v + " %") }),
        ],
        series: [
          { label: "entries", value: (u, v) => entries(v) },
          ...curves.map((curve, i) => ({
            label: curve.name, stroke: css("--s" + (i % 6 + 1)), width: 1.75, dash: i === 0 ? undefined : [[6, 4], [2, 3], [10, 4], [8, 3, 2, 3], [4, 4]][(i - 1) % 5],
            value: (u, v) => percent(v), points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }),
          })),
        ],
      }, [data.sizes, ...curves.map(curve => curve.percent)], box);
    };
    make();
    let last = host.clientWidth;
    new ResizeObserver(() => {
      if (Math.abs(host.clientWidth - last) < 1) return;
      last = host.clientWidth;
      make();
    }).observe(host);
    redraws.push(make);
  };

  for (const host of document.querySelectorAll("[data-plot]")) draw(host, data.plots[+host.dataset.plot]);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraws.forEach(redraw => redraw()));
  document.documentElement.dataset.drawn = "true";
})();
