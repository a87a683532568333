/// How the page looks. Protocols differ by colour and by their lines' dashes, so that neither is needed alone.
enum Stylesheet {
    /// The colours of protocols on a light ground.
    static let lightSeries = ["#b8570a", "#1a5fb4", "#7b3f9d", "#0f766e", "#8a6d00", "#a1265a"]

    /// How many protocols have a look of their own.
    static var seriesCount: Int { lightSeries.count }

    private static let lightColours = lightSeries.enumerated().map { "--c\($0): \($1);" }.joined(separator: " ")

    static let text = """
        :root {
          color-scheme: light dark;
          --paper: #fcfbf8; --ink: #1d2127; --soft: #5b636e; --rule: #d9d6cd; --wash: #f1eee6;
          --attack: #f8e5df; --bad: #b3261e; --good: #1c6b43; --link: #174ea6;
          \(lightColours)
          --cpu: #7b8794; --cpu-odd: #9aa5b1; --cpu-clients: #cfd6dd; --cpu-faulty: #b3261e;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --paper: #14171b; --ink: #e7e5df; --soft: #a3abb5; --rule: #363c44; --wash: #1e2329;
            --attack: #35211c; --bad: #ff8a7a; --good: #6fd19c; --link: #8ab4f8;
            --c0: #f2a25c; --c1: #79b0ff; --c2: #c99be6; --c3: #5cc9bd; --c4: #dcc04d; --c5: #f08ab4;
            --cpu: #77828e; --cpu-odd: #5d6772; --cpu-clients: #39414a; --cpu-faulty: #e0685a;
          }
        }
        * { box-sizing: border-box; }
        html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; scroll-behavior: smooth; }
        body {
          margin: 0; background: var(--paper); color: var(--ink);
          font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
          font-variant-numeric: tabular-nums;
        }
        main { max-width: 72rem; margin: 0 auto; padding: 2.5rem clamp(1rem, 4vw, 2.5rem) 5rem; }
        h1 { font-size: clamp(1.7rem, 1.2rem + 2.4vw, 2.6rem); line-height: 1.15; letter-spacing: -.02em; margin: 0 0 .6rem; }
        h2 { font-size: 1.35rem; line-height: 1.25; letter-spacing: -.01em; margin: 3.2rem 0 .8rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
        h3 { font-size: 1.05rem; line-height: 1.35; margin: 0; }
        h4 { font-size: .95rem; margin: .8rem 0 .2rem; }
        p { margin: 0 0 .9rem; max-width: 44rem; }
        a { color: var(--link); text-underline-offset: .18em; text-decoration-thickness: 1px; }
        a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
        code { font: .88em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
        small { font-size: .82em; color: var(--soft); font-weight: 400; }
        .lead { font-size: 1.1rem; max-width: 46rem; margin-bottom: .4rem; }
        .meta { color: var(--soft); font-size: .9rem; overflow-wrap: anywhere; }
        .verdict { margin: 1.6rem 0 1rem; padding: .8rem 1rem; border-left: 4px solid var(--good); background: var(--wash); max-width: none; }
        .verdict.held strong { color: var(--good); }
        .verdict.failed { border-color: var(--bad); }
        .verdict.failed strong { color: var(--bad); }
        .complaints, .caution { margin: .4rem 0 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
        .caution { color: var(--soft); margin-bottom: 1rem; }
        .culprit {
          font-size: .72rem; font-weight: 500; letter-spacing: .03em; color: var(--soft); border: 1px solid var(--rule);
          border-radius: 1rem; padding: .05rem .55rem; vertical-align: .12em; white-space: nowrap;
        }
        .legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; margin: .2rem 0 1rem; font-size: .9rem; }
        .legend li { display: flex; align-items: center; gap: .45rem; }
        .key { width: 28px; height: 12px; flex: none; }
        .s0 { --c: var(--c0); --dash: 7 4; } .s1 { --c: var(--c1); --dash: none; } .s2 { --c: var(--c2); --dash: 2 3; }
        .s3 { --c: var(--c3); --dash: 12 4; } .s4 { --c: var(--c4); --dash: 9 3 2 3; } .s5 { --c: var(--c5); --dash: 4 2; }

        .bars { display: grid; gap: 1.5rem; }
        .group h3 { margin-bottom: .1rem; }
        .group h3 a { color: inherit; }
        .group p { color: var(--soft); font-size: .9rem; margin: 0 0 .35rem; }
        .bar, .strip, .split { display: grid; grid-template-columns: minmax(6rem, 11rem) 1fr 9.5rem; gap: 0 .9rem; align-items: center; margin: .15rem 0; }
        .bar svg, .strip svg, .split svg { display: block; width: 100%; height: 22px; overflow: visible; }
        .name { font-size: .9rem; line-height: 1.25; overflow-wrap: anywhere; }
        .value { font-size: .92rem; font-weight: 600; line-height: 1.25; }
        .value small { margin-left: .6em; white-space: nowrap; }
        .fill, .bar .foot { fill: var(--c); }
        .range { stroke: var(--ink); stroke-width: 1.5; }
        .paper { fill: none; stroke: var(--soft); stroke-width: 1; }
        .whole { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 2; }

        .scroll { overflow-x: auto; margin: 0 0 1rem; }
        table { border-collapse: collapse; font-size: .88rem; line-height: 1.35; min-width: 100%; }
        .caption { color: var(--soft); font-size: .85rem; margin: 0 0 .4rem; }
        th, td { text-align: left; padding: .32rem .75rem; border-bottom: 1px solid var(--rule); white-space: nowrap; vertical-align: top; }
        th:first-child, td:first-child { padding-left: 0; position: sticky; left: 0; background: var(--paper); }
        tbody th { font-weight: 500; }
        thead th { font-weight: 600; color: var(--soft); border-bottom: 1.5px solid var(--soft); }
        .n { text-align: right; }
        .bad { color: var(--bad); font-weight: 700; }

        .contents { columns: 13rem; list-style: none; padding: 0; margin: 0; font-size: .95rem; }
        .contents li { break-inside: avoid; padding: .12rem 0; }
        .profile { margin-top: 2.6rem; padding-top: 1.2rem; border-top: 1px solid var(--rule); }
        .profile > h3 { font-size: 1.25rem; }
        .profile > p { color: var(--soft); margin: .1rem 0 .6rem; }
        figure { margin: 0 0 1.6rem; }
        figcaption { font-size: .9rem; font-weight: 600; margin-bottom: .5rem; }
        figcaption:has(+ .plot) { margin-bottom: 1.4rem; }
        .plot { display: grid; grid-template-columns: 3.6rem 1fr; font-size: .78rem; color: var(--soft); }
        .y { position: relative; }
        .y span { position: absolute; right: .5rem; transform: translateY(-50%); white-space: nowrap; }
        .area { position: relative; }
        .area svg { display: block; width: 100%; height: 13rem; overflow: visible; }
        .span { position: absolute; top: -1.25rem; font-size: .75rem; color: var(--bad); letter-spacing: .04em; z-index: 1; }
        .x { grid-column: 2; position: relative; height: 1.5rem; margin-top: .25rem; font-size: .78rem; color: var(--soft); }
        .x span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
        .x .first { transform: none; } .x .last { transform: translateX(-100%); }
        .attack { fill: var(--attack); }
        .grid { stroke: var(--rule); stroke-width: 1; vector-effect: non-scaling-stroke; }
        .line { fill: none; stroke: var(--c); stroke-width: 2.2; stroke-dasharray: var(--dash); stroke-linejoin: round; stroke-linecap: round; vector-effect: non-scaling-stroke; }
        .line.other { stroke-width: 1; opacity: .38; }
        .line.half { stroke-width: 1.1; opacity: .75; }
        .strips { margin-left: 3.6rem; }
        .strip { grid-template-columns: 1fr; margin: .35rem 0; }
        .reign { fill: var(--c); opacity: .34; } .reign.odd { opacity: .2; } .reign.faulty { fill: var(--cpu-faulty); opacity: .5; }
        .faulty-mark { stroke: var(--bad); stroke-width: 4; stroke-dasharray: 3 3; }
        .strip text { fill: var(--ink); font-size: .78rem; font-weight: 600; }
        .split { grid-template-columns: 11rem 1fr 15rem; margin: .3rem 0; }
        .split svg { height: 18px; }
        .split .value { font-weight: 400; font-size: .85rem; }
        .cpu { stroke: var(--paper); stroke-width: 1; }
        .cpu.replica { fill: var(--cpu); } .cpu.odd { fill: var(--cpu-odd); } .cpu.clients { fill: var(--cpu-clients); }
        .cpu.faulty { fill: var(--cpu-faulty); }
        details { margin: .3rem 0; }
        summary { cursor: pointer; color: var(--link); font-size: .95rem; padding: .15rem 0; }
        details[open] > summary { margin-bottom: .5rem; }
        .events { list-style: none; padding: 0; margin: 0; font-size: .9rem; }
        .when { display: inline-block; min-width: 4.2rem; color: var(--soft); }
        .facts { display: grid; grid-template-columns: minmax(7rem, 11rem) 1fr; gap: .35rem 1.2rem; font-size: .92rem; margin: 0 0 1.5rem; }
        .facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }

        @media (max-width: 46rem) {
          main { padding-top: 1.5rem; }
          .bar { grid-template-columns: 1fr auto; }
          .bar svg { grid-column: 1 / -1; grid-row: 2; }
          .split { grid-template-columns: 1fr; margin: .5rem 0; }
          .strips { margin-left: 2.9rem; }
          .plot { grid-template-columns: 2.9rem 1fr; font-size: .72rem; }
          .area svg { height: 10rem; }
          .facts { grid-template-columns: 1fr; gap: 0; }
          .facts dd { margin-bottom: .6rem; }
          th, td { padding: .3rem .55rem; }
          tbody th { white-space: normal; min-width: 6.5rem; max-width: 10rem; }
          th:first-child, td:first-child { padding-right: .8rem; }
        }
        @media print { .scroll { overflow: visible; } .profile { break-inside: avoid; } details { display: none; } }
        """
}
