/// How the page looks: a report to be read, on paper too. Colours are told apart by people who see few, and every
/// difference of colour is one of form or word as well.
enum PageStyle {
  static let text = colours + page + parts + trajectory + narrow

  /// Text and its ground differ by 4.5 : 1 or more in both. Steps of a trajectory go from pale yellow to blue, evenly darker.
  private static let colours = """
    :root {
      color-scheme: light dark;
      --paper: #fdfdfb; --ink: #1c2024; --soft: #565e66; --rule: #d6d8d4; --wash: #f3f3ee;
      --cand: #0b5c9e; --ref: #5c6670; --floor: #9a5800; --pass: #17633f; --fail: #ab2318;
      --f0: #fdf3c4; --f1: #e3efc6; --f2: #c4e6cf; --f3: #a9d8dc; --f4: #96c6e8; --f5: #8bb3ec;
    }
    @media screen and (prefers-color-scheme: dark) {
      :root {
        --paper: #14171a; --ink: #e4e5e1; --soft: #a2aab2; --rule: #353b41; --wash: #1c2125;
        --cand: #74b5f0; --ref: #a3adb7; --floor: #e2a558; --pass: #74cfa2; --fail: #ff9385;
        --f0: #4a4420; --f1: #3c4a2a; --f2: #27493c; --f3: #1d4650; --f4: #1f4468; --f5: #2c4580;
      }
    }

    """

  private static let page = """
    * { box-sizing: border-box; }
    html { -webkit-text-size-adjust: 100%; }
    body { margin: 0; background: var(--paper); color: var(--ink);
      font: 17px/1.55 Charter, "Bitstream Charter", "Iowan Old Style", Georgia, "Liberation Serif", serif; }
    main, header.top { max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }
    header.top { padding-top: 2.75rem; }
    h1, h2, h3 { line-height: 1.2; text-wrap: balance; }
    h1 { font-size: 2rem; font-weight: 600; margin: .2rem 0 .6rem; overflow-wrap: anywhere; }
    h1 .against { font-weight: 400; color: var(--soft); font-style: italic; }
    h2 { font-size: 1.35rem; font-weight: 600; margin: 3.2rem 0 .6rem; padding-top: .7rem; border-top: 1px solid var(--rule); }
    h3 { font-size: 1rem; font-weight: 600; margin: 1.6rem 0 .3rem; }
    p { max-width: 42rem; margin: .5rem 0; }
    .eyebrow, th, td, svg, .tile, nav, summary, dl, .legend, .verdict b {
      font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", "Liberation Sans", sans-serif; }
    .eyebrow { font-size: .75rem; letter-spacing: .08em; text-transform: uppercase; color: var(--soft); margin: 0; }
    td, dd, .tile b, svg { font-variant-numeric: tabular-nums lining-nums; }
    code, .hash { font: .85em ui-monospace, "SF Mono", Menlo, "Liberation Mono", monospace; }
    td code { white-space: nowrap; } .passed, .failed { white-space: nowrap; }
    a { color: var(--cand); text-underline-offset: .15em; }
    nav { font-size: .85rem; margin: 1.6rem 0 0; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; }
    :focus-visible { outline: 2px solid var(--cand); outline-offset: 2px; }
    .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    footer { color: var(--soft); font-size: .85rem; margin: 3rem 0; border-top: 1px solid var(--rule); padding-top: .8rem; }

    """

  private static let parts = """
    .verdict { font-size: 1.15rem; margin: .2rem 0; max-width: none; }
    .verdict b { font-size: .95rem; letter-spacing: .05em; padding: .12rem .55rem; border: 1.5px solid currentColor;
      border-radius: 3px; margin-right: .5rem; }
    .pass b, .passed { color: var(--pass); } .fail b, .failed { color: var(--fail); } .failed { font-weight: 600; }
    .tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 0 1.5rem; margin: 1.8rem 0 0;
      padding: 0; list-style: none; }
    @media (min-width: 60rem) { .tiles { grid-template-columns: repeat(6, minmax(0, 1fr)); } }
    .tile { border-top: 2px solid var(--ink); padding: .5rem 0 1.3rem; font-size: .8rem; line-height: 1.4; }
    .tile h3 { font-size: .8rem; margin: 0; font-weight: 600; }
    .tile b { display: block; font-size: 1.25rem; font-weight: 500; line-height: 1.3; letter-spacing: -.01em; }
    .tile .detail { color: var(--soft); min-height: 1.4em; margin: 0; } .tile .detail span { color: var(--floor); white-space: nowrap; }
    .tile p { margin: .3rem 0 0; }
    .notes { padding-left: 1.1rem; max-width: 46rem; }
    .charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem 2.5rem; }
    .charts > * { min-width: 0; }
    figure.chart { margin: 0; max-width: 36rem; break-inside: avoid; }
    figure.chart h3 { margin-bottom: .5rem; }
    svg { display: block; width: 100%; height: auto; overflow: visible; }
    svg text { fill: var(--ink); font-size: 11.5px; }
    svg text.tick, svg text.note { fill: var(--soft); } svg text.label { fill: var(--soft); font-size: 11.5px; }
    svg .grid { stroke: var(--rule); stroke-width: .7; } svg .axis { stroke: var(--ink); stroke-width: 1; }
    svg .line { fill: none; stroke-width: 1.8; } svg .whisker { stroke-width: 1.2; }
    svg .dashed { stroke-dasharray: 5 3.5; } svg .marker { stroke: var(--floor); stroke-width: 1; stroke-dasharray: 2 2; }
    svg .s-cand { stroke: var(--cand); } svg .s-ref { stroke: var(--ref); } svg .s-floor { stroke: var(--floor); }
    svg .s-ink { stroke: var(--ink); }
    svg .dot { stroke: var(--paper); stroke-width: 1; } svg .dot.s-cand { fill: var(--cand); }
    svg .bar { fill: var(--cand); } svg .bar:hover, svg .dot:hover { opacity: .75; }
    figcaption { font-size: .88rem; color: var(--soft); line-height: 1.45; margin-top: .3rem; }
    summary { cursor: pointer; font-size: .8rem; color: var(--cand); padding: .3rem 0; }
    section > details { margin-top: .8rem; }
    .scroll { overflow-x: auto; }
    table { border-collapse: collapse; font-size: .82rem; line-height: 1.35; margin: .4rem 0; }
    th, td { text-align: left; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
    th { font-weight: 600; vertical-align: bottom; border-bottom-color: var(--ink); }
    th.n, td.n { text-align: right; white-space: nowrap; } td .ci { color: var(--soft); margin-left: .3em; }
    th button { all: unset; cursor: pointer; font: inherit; } th button:focus-visible { outline: 2px solid var(--cand); }
    th[aria-sort=ascending] button::after { content: " ↑"; } th[aria-sort=descending] button::after { content: " ↓"; }
    dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; font-size: .85rem; margin: .6rem 0; }
    dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
    .cells { width: 100%; max-width: 34rem; } .cells td { width: 33%; } .cells td b { font-size: 1.15rem; font-weight: 500; }
    .cells th[scope=row] { vertical-align: top; border-bottom-color: var(--rule); } .cells .ci { margin: 0; }
    .worst table { width: 100%; }
    .worst { display: grid; gap: 1.4rem; padding: 0; list-style: none; counter-reset: worst; }
    .worst > li { border-top: 1px solid var(--rule); padding-top: .6rem; break-inside: avoid; }
    .context { background: var(--wash); padding: .6rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .95rem;
      margin: .4rem 0; max-width: none; }
    .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: .4rem 2rem; }
    .meter { display: block; height: .5rem; background: var(--cand); min-width: 1px; margin-top: .35rem; }
    .meter.ref { background: var(--ref); } td.meters { width: 45%; min-width: 5rem; }
    .token { white-space: pre-wrap; background: var(--wash); padding: 0 .2em; border-radius: 2px; }

    """

  private static let trajectory = """
    .run { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 2; margin: .3rem 0; max-width: none; }
    .run span { border-radius: 2px; padding: .1em 0; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
    .f0 { background: var(--f0); } .f1 { background: var(--f1); } .f2 { background: var(--f2); }
    .f3 { background: var(--f3); } .f4 { background: var(--f4); } .f5 { background: var(--f5); }
    .other { text-decoration: underline 2px var(--fail); text-underline-offset: .25em; font-weight: 700; }
    .run .first { margin: 0 .15em; outline: 2px solid var(--fail); outline-offset: 1px; }
    .run .block { color: var(--soft); font-size: .7rem; padding: 0 .25em; user-select: none; vertical-align: .15em; }
    .legend { font-size: .8rem; color: var(--soft); } .legend span { color: var(--ink); padding: .1em .5em; }

    """

  private static let narrow = """
    @media (max-width: 34rem) {
      body { font-size: 16px; } h1 { font-size: 1.5rem; } .tiles { grid-template-columns: 1fr 1fr; gap: 0 1rem; }
      header.top { padding-top: 1.5rem; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4rem; }
      svg text, svg text.label { font-size: 13.5px; }
    }
    @media print {
      :root { --paper: #fff; }
      h3, summary { break-after: avoid; } .example, #gates .scroll, .tile { break-inside: avoid; }
      .scroll { overflow: visible; } table { font-size: .72rem; } th, td { padding-right: .6rem; }
      body { font-size: 10.5pt; } nav, details > summary { display: none; } h2 { break-after: avoid; }
      main, header.top { max-width: none; padding: 0; } .tiles { grid-template-columns: repeat(5, 1fr); }
      .charts { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 1rem 2rem; }
      td code { white-space: normal; overflow-wrap: anywhere; } tr { break-inside: avoid; }
      .bar, .meter { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
    }
    """
}
