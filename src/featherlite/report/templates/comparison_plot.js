// The plot: the same picture as that of Python, for whichever axes.
const plot = (function () {
  const SVG = "http://www.w3.org/2000/svg";
  function svg(tag, attributes, ...children) {
    const made = document.createElementNS(SVG, tag);
    Object.keys(attributes).forEach((name) => made.setAttribute(name, attributes[name]));
    children.forEach((child) => made.append(child)); // a text stays a text, never markup
    return made;
  }

  // `view`: dots [{index, name, cost, score: [value, low, high], color, pretrained, chosen, selected, beyond, label}],
  // column, score, log, steps, width, height. `on`: enter(dot, x, y), leave(), pick(dot).
  function draw(view, on) {
    const frame = { left: 50, top: 12, right: view.width - 14, bottom: view.height - 46 };
    const parts = view.dots.length ? contents(view, frame, on) : [];
    return svg("svg", {
      viewBox: "0 0 " + view.width + " " + view.height, class: "plot", role: "group",
      "aria-label": view.score.name + " against " + view.column.name
        + ". Arrow keys go from network to network, Enter picks one.",
    }, ...parts);
  }

  function contents(view, frame, on) {
    const dots = view.dots;
    const floor = Math.min(...dots.map((dot) => dot.score[1])), roof = Math.max(...dots.map((dot) => dot.score[2]));
    const pad = Math.max(0.01, (roof - floor) * 0.06);
    const low = Math.max(0, floor - pad), high = Math.min(1, roof + pad);
    const y = (value) => frame.bottom + (value - low) / (high - low) * (frame.top - frame.bottom);
    const x = costScale(dots.map((dot) => dot.cost), view.log, frame);
    const best = rule.front(dots.map((dot) => [dot.cost, dot.score[0]]));
    let path = "M" + x.at(dots[best[0]].cost) + " " + frame.bottom;
    best.forEach((index) => { path += "H" + x.at(dots[index].cost) + "V" + y(dots[index].score[0]); });
    return [
      ...scores(view, frame, y, low, high),
      ...costs(view, frame, x),
      svg("path", { d: path + "H" + frame.right, class: "front" }),
      ...dots.map((dot, index) => mark(dot, best.includes(index), x.at(dot.cost), y, on)),
      ...names(dots, best, x, y, frame),
    ];
  }

  function costScale(costs, logarithmic, frame) {
    const low = Math.min(...costs), high = Math.max(...costs), end = frame.right - 10;
    if (!logarithmic) {
      const most = high * 1.06 || 1;
      return { low: 0, high: most, at: (value) => frame.left + value / most * (end - frame.left) };
    }
    const pad = high > low ? (high / low) ** 0.05 : 1.3, start = frame.left + 10;
    const from = low / pad, span = Math.log(high * pad / from);
    return { low: from, high: high * pad, at: (value) => start + Math.log(value / from) / span * (end - start) };
  }

  function scores(view, frame, y, low, high) {
    return rule.linearTicks(low, high, 8).flatMap((tick) => {
      const text = view.score.percent ? Number((tick * 100).toPrecision(6)) + "%" : tick.toFixed(2);
      return [
        svg("line", { x1: frame.left, x2: frame.right, y1: y(tick), y2: y(tick), class: "grid" }),
        svg("text", { x: frame.left - 7, y: y(tick) + 4, "text-anchor": "end" }, text),
      ];
    });
  }

  function costs(view, frame, x) {
    const steps = view.steps[view.column.unit];
    const written = (value) => {
      const step = steps.find((one) => value >= one[0] * 0.999) || steps[steps.length - 1];
      return value ? Number((value / step[0]).toPrecision(3)) + step[1] : "0";
    };
    // Round numbers of minutes or hours, not of seconds.
    const timed = view.column.unit === "seconds";
    const factor = timed ? steps.find((step) => x.high >= step[0] * 3 || step[0] === 1)[0] : 1;
    const most = view.width > 500 ? 9 : 4;
    const ticks = (view.log ? rule.logTicks : rule.linearTicks)(x.low / factor, x.high / factor, most);
    const parts = ticks.map((tick) => tick * factor).flatMap((tick) => [
      svg("line", { x1: x.at(tick), x2: x.at(tick), y1: frame.bottom, y2: frame.bottom + 5, class: "axis" }),
      svg("text", { x: x.at(tick), y: frame.bottom + 19, "text-anchor": "middle" }, written(tick)),
    ]);
    const middle = { x: (frame.left + frame.right) / 2, y: view.height - 6, "text-anchor": "middle" };
    return [
      ...parts,
      svg("line", { x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom, class: "axis" }),
      svg("text", Object.assign(middle, { class: "axis-name" }), view.column.name + (view.log ? " (logarithmic)" : "")),
    ];
  }

  function mark(dot, fore, at, y, on) {
    const middle = y(dot.score[0]), ends = [y(dot.score[1]), y(dot.score[2])];
    const kinds = [["fore", fore], ["chosen", dot.chosen], ["selected", dot.selected], ["beyond", dot.beyond]];
    const made = svg("g", {
      class: ["dot", "c" + dot.color].concat(kinds.filter((kind) => kind[1]).map((kind) => kind[0])).join(" "),
      "data-row": dot.index, tabindex: "-1", role: "button", "aria-pressed": String(dot.selected),
      "aria-label": dot.label + (fore ? ", on the Pareto front" : "") + (dot.chosen ? ", recommended" : ""),
    },
    svg("line", { x1: at, x2: at, y1: ends[0], y2: ends[1], class: "whisker" }),
    ...ends.map((end) => svg("line", { x1: at - 4, x2: at + 4, y1: end, y2: end, class: "whisker" })),
    ...(dot.chosen ? [svg("circle", { cx: at, cy: middle, r: 11, class: "ring" })] : []),
    dot.pretrained ? svg("circle", { cx: at, cy: middle, r: 6, class: "marker" })
      : svg("path", { d: "M" + at + " " + (middle - 7.5) + "l7.5 7.5l-7.5 7.5l-7.5 -7.5z", class: "marker" }),
    svg("circle", { cx: at, cy: middle, r: 15, class: "hit" }));
    made.addEventListener("pointerenter", () => on.enter(dot, at, middle));
    made.addEventListener("pointerleave", on.leave);
    made.addEventListener("focus", () => on.enter(dot, at, middle));
    made.addEventListener("blur", on.leave);
    made.addEventListener("click", () => on.pick(dot));
    return made;
  }

  const meets = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

  // Each network's name where it meets nothing else that is drawn, those that matter most first.
  function names(dots, best, x, y, frame) {
    const taken = [], parts = [];
    best.forEach((index, place) => {
      const at = x.at(dots[index].cost), level = y(dots[index].score[0]), next = dots[best[place + 1]];
      const below = place ? y(dots[best[place - 1]].score[0]) : frame.bottom;
      taken.push([at - 1, level, at + 1, below], [at, level - 1, next ? x.at(next.cost) : frame.right, level + 1]);
    });
    dots.forEach((dot) => {
      const at = x.at(dot.cost), middle = y(dot.score[0]);
      taken.push([at - 9, middle - 9, at + 9, middle + 9], [at - 4, y(dot.score[2]), at + 4, y(dot.score[1])]);
    });
    const order = (index) => dots[index].selected ? 0 : dots[index].chosen ? 1 : best.includes(index) ? 2 : 3;
    const free = (area) => area[0] >= frame.left && area[2] <= frame.right + 10 && area[1] >= 0
      && area[3] < frame.bottom && !taken.some((other) => meets(area, other));
    dots.map((_, index) => index).sort((a, b) => order(a) - order(b) || a - b).forEach((index) => {
      const dot = dots[index], long = 7.2 * dot.name.length;
      const areaOf = ([left, base, share]) => [left - share * long, base - 11, left - share * long + long, base + 3];
      const places = spots(x.at(dot.cost), ...[0, 2, 1].map((figure) => y(dot.score[figure])));
      const spot = places.find((one) => free(areaOf(one)));
      if (!spot) return;
      taken.push(areaOf(spot));
      const kind = dot.selected ? " selected" : dot.chosen ? " chosen" : "";
      const anchor = ["start", "middle", "end"][spot[2] * 2];
      parts.push(svg("text", { x: spot[0], y: spot[1], "text-anchor": anchor, class: "name" + kind }, dot.name));
    });
    return parts;
  }

  // Where a name may stand, the best place first: [x, y, share of the text that is to the left of x].
  const spots = (at, middle, top, bottom) => [
    [at + 12, middle + 4, 0], [at - 12, middle + 4, 1], [at + 8, middle - 10, 0], [at + 8, middle + 18, 0],
    [at - 8, middle - 10, 1], [at - 8, middle + 18, 1], [at, top - 6, 0.5], [at, bottom + 14, 0.5],
    [at + 8, middle - 24, 0], [at + 8, middle + 32, 0], [at - 8, middle - 24, 1], [at - 8, middle + 32, 1],
  ];

  return { svg, draw };
})();
