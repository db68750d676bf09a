"""The look of the HTML report: its policy, style sheet, and the script that draws its figures."""

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
CSS = """
:root { --ink: #1c2330; --soft: #5b6473; --paper: #f5f6f8; --card: #fff; --line: #dfe3e9;
  --warn: #fff4e0; --warn-line: #e69f00; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa4b2; --paper: #12151a;
  --card: #1b1f26; --line: #323945; --warn: #33280f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 24px 20px 60px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 25px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 18px; line-height: 1.3; margin: 0 0 4px; }
h3 { font-size: 14px; margin: 14px 0 2px; }
p { margin: 0 0 10px; max-width: 85ch; } .soft, small { color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin-top: 18px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(168px, 1fr)); gap: 10px;
  margin: 18px 0 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 10px 14px; }
.tile dt { color: var(--soft); font-size: 13px; } .tile dd { margin: 0; font-size: 21px; }
.tile small { display: block; font-size: 12.5px; line-height: 1.35; }
.warning { background: var(--warn); border: 1px solid var(--warn-line); border-radius: 10px;
  padding: 10px 16px; margin-top: 18px; }
.split { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 3fr); gap: 12px 28px; }
.split > *, .figure { min-width: 0; }
.stack { display: flex; height: 16px; border-radius: 4px; overflow: hidden;
  background: var(--line); }
.meter { background: var(--line); border-radius: 3px; height: 9px; min-width: 50px; }
.meter b { display: block; height: 100%; border-radius: 3px; }
.trust { display: grid; grid-template-columns: 64px 1fr 230px; gap: 8px 14px; align-items: center; }
.chip { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
.name { white-space: nowrap; }
.legend span { margin-right: 18px; white-space: nowrap; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { margin: 4px 0; font-size: 12px; } summary { cursor: pointer; white-space: nowrap; }
@media (max-width: 760px) { body { padding: 16px 10px 40px; } section { padding: 14px 12px; }
  .split { grid-template-columns: minmax(0, 1fr); } .trust { grid-template-columns: 1fr; gap: 2px; }
  .tiles { grid-template-columns: 1fr 1fr; } .tile dd { font-size: 18px; } }
"""
SCRIPT = """
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const color = name => getComputedStyle(document.documentElement).getPropertyValue(name);
  const axis = { gridcolor: color("--line"), linecolor: color("--line"), zeroline: false };
  const template = { layout: { xaxis: axis, yaxis: axis, hovermode: "closest", dragmode: false,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", bargap: 0.28,
    font: { color: color("--ink"), family: getComputedStyle(document.body).fontFamily, size: 12 },
    hoverlabel: { align: "left" }, legend: { orientation: "h", x: 0, y: 1, yref: "container",
    yanchor: "top", traceorder: "normal", itemsizing: "constant" } } };
  for (const data of document.querySelectorAll("script[type='application/json']")) {
    const figure = JSON.parse(data.textContent);
    Plotly.react(data.previousElementSibling, figure.data, { ...figure.layout, template },
      { responsive: true, displaylogo: false, displayModeBar: false });
  }
}
draw();
dark.addEventListener("change", draw);
"""
