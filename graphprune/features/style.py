"""The page's style: light and dark, without anything from elsewhere."""

STYLE = """
:root { color-scheme: light dark; --text: #1c1e21; --soft: #5c636b; --back: #ffffff;
  --panel: #f4f5f7; --edge: #d5d9de; --above: #b2182b; --below: #2166ac; --accent: #1a5fb4; }
@media (prefers-color-scheme: dark) { :root { --text: #e8eaed; --soft: #a9b0b8;
  --back: #16181b; --panel: #202327; --edge: #3a3f45; --above: #f08a7a; --below: #7fb4e6;
  --accent: #8ab8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; background: var(--back);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .35rem 0; max-width: 65rem; }
a { color: var(--accent); }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
nav ul, ul.notes { margin: .5rem 0; padding-left: 1.2rem; }
nav ul { columns: 18rem; }
section { margin-top: 1.5rem; padding: 1rem; background: var(--panel);
  border: 1px solid var(--edge); border-radius: .5rem; }
.soft { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: separate; border-spacing: .35rem; margin-top: .5rem; }
th { font-weight: 600; text-align: left; vertical-align: bottom; font-size: .8rem; }
th span { display: block; font-weight: 400; color: var(--soft); white-space: nowrap; }
th.ends { border-bottom: 2px solid var(--edge); font-size: .9rem; }
td { vertical-align: top; font-size: .75rem; color: var(--soft); min-width: 96px;
  max-width: 110px; }
tbody th { vertical-align: top; }
td.gap, th.gap { min-width: 1px; padding: 0; border-left: 2px solid var(--edge); }
td b { display: block; color: var(--text); }
td img, th img { display: block; width: 96px; max-height: 192px; background: var(--back);
  border: 1px solid var(--edge); image-rendering: pixelated; }
td img.strip { height: 28px; }
td svg, th svg { display: block; width: 96px; background: var(--back);
  border: 1px solid var(--edge); }
svg polyline { fill: none; stroke: var(--accent); stroke-width: 1.2; }
svg .zero { stroke: var(--soft); stroke-width: .6; stroke-dasharray: 2 2; }
svg .above { fill: var(--above); } svg .below { fill: var(--below); }
svg.rank { width: 20rem; max-width: 100%; height: 4rem; display: block; }
svg.rank .rest { fill: var(--soft); opacity: .5; } svg.rank .shown { fill: var(--accent); }
svg.rank .whisker { stroke: var(--text); stroke-width: 1; vector-effect: non-scaling-stroke; }
.legend { display: flex; gap: .5rem; align-items: center; flex-wrap: wrap; }
.ramp { width: 10rem; height: .9rem; border: 1px solid var(--edge); }
"""
