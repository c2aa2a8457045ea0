// Choose, sort, filter, weigh. The page says all it has to say without this.
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { rows, columns, scores } = data;
  const byId = (id) => document.getElementById(id);
  const all = (query, within) => Array.from((within || document).querySelectorAll(query));
  const scoreOf = (key) => scores.find((one) => one.key === key);
  const columnOf = (key) => columns.find((one) => one.key === key);
  const state = {
    cost: columns.length ? columns[0].key : "", score: scores.length ? scores[0].key : "", log: true, kin: "family",
    words: [], start: "", selected: -1, recommended: data.recommended, beyond: new Set(),
  };

  // ---- texts ------------------------------------------------------------------------------------------------------
  function html(tag, attributes, ...children) {
    const made = document.createElement(tag);
    Object.keys(attributes).forEach((name) => made.setAttribute(name, attributes[name]));
    made.append(...children); // a text stays a text, never markup
    return made;
  }
  function percent(share) {
    const text = (share * 100).toFixed(1);
    return share < 1 && Number(text) >= 100 ? ">99.9%" : text + "%";
  }
  const scoreText = (key, value) => scoreOf(key).percent ? percent(value) : value.toFixed(3);
  const spoken = (key, [value, low, high]) =>
    scoreText(key, value) + " (" + scoreText(key, low) + " to " + scoreText(key, high) + ")";
  const origin = (row) => row.about + " · " + (row.pretrained ? row.weights : "from scratch");

  // How a figure, or a score, stands to that of the recommended network.
  const other = (row) => rows.find((one) => one.name === state.recommended && one !== row);
  function ratio(row, key) {
    const beside = other(row);
    if (!beside || !row.costs[key] || !beside.costs[key]) return "";
    const times = row.costs[key] / beside.costs[key];
    if (times < 0.995) return Math.max(1, Math.round(times * 100)) + "%";
    return (times < 9.95 ? times.toFixed(1) : Math.round(times)) + " ×";
  }
  function points(row, key) {
    const beside = other(row);
    if (!beside || !row.scores[key] || !beside.scores[key]) return "";
    const difference = 100 * (row.scores[key][0] - beside.scores[key][0]);
    return (difference >= 0 ? "+" : "−") + Math.abs(difference).toFixed(1) + " points";
  }

  function matches(row) {
    const start = row.pretrained ? row.weights + " pretrained" : "from scratch";
    const text = (row.name + " " + row.about + " " + start).toLowerCase();
    return state.words.every((word) => text.includes(word))
      && (!state.start || (state.start === "pretrained") === row.pretrained);
  }

  // ---- the plot ---------------------------------------------------------------------------------------------------
  function dots() {
    const score = scoreOf(state.score), column = columnOf(state.cost);
    return rows.map((row, index) => ({ row, index, cost: row.costs[state.cost], score: row.scores[state.score] }))
      .filter(({ row, cost, score }) => matches(row) && score && typeof cost === "number" && (!state.log || cost > 0))
      .map((dot) => Object.assign(dot, {
        name: dot.row.name, pretrained: dot.row.pretrained, color: Math.min(dot.row.group[state.kin], data.colors - 1),
        chosen: dot.row.name === state.recommended, selected: dot.index === state.selected,
        beyond: state.beyond.has(dot.row.name),
        label: dot.row.name + ": " + score.name + " " + scoreText(state.score, dot.score[0]) + ", " + column.name + " "
          + dot.row.text[state.cost],
      }));
  }

  function draw() {
    const box = byId("drawn");
    if (!box) return;
    const held = document.activeElement.closest("#drawn .dot");
    const focused = held ? held.dataset.row : null;
    hideTip();
    const found = dots(), width = Math.max(300, box.clientWidth);
    const view = {
      dots: found, column: columnOf(state.cost), score: scoreOf(state.score), log: state.log, steps: data.steps,
      width, height: width > 560 ? 440 : 350,
    };
    box.replaceChildren(plot.draw(view, { enter: showTip, leave: hideTip, pick: (dot) => select(dot.index) }));
    const marks = all(".dot", box);
    const stop = marks.find((one) => Number(one.dataset.row) === state.selected) || marks[0];
    if (stop) stop.setAttribute("tabindex", "0");
    const again = marks.find((one) => one.dataset.row === focused);
    if (again) again.focus({ preventScroll: true });
    caption(found);
    color(found);
  }

  function caption(found) {
    const missing = rows.filter((row) => matches(row) && !found.some((dot) => dot.row === row)).map((row) => row.name);
    const said = found.length
      ? ["Up and to the left is better. Networks on the stepped line are beaten by none in both at once."]
      : ["Nothing to draw."];
    if (state.score === "top1" && /int8|ships/.test(state.cost)) {
      said.push("This accuracy is that of the float32 network.");
    }
    if (missing.length) said.push("Not drawn, for want of a figure: " + missing.join(", ") + ".");
    byId("said").textContent = said.join(" ");
    if (byId("left-out")) byId("left-out").remove();
  }

  function color(found) {
    const names = data.groups[state.kin], last = data.colors - 1;
    const used = new Set(found.map((dot) => dot.color));
    const entries = names.slice(0, data.colors).map((name, index) => {
      const shape = plot.svg("svg", { viewBox: "0 0 16 16", class: "plot mark", "aria-hidden": "true" },
        plot.svg("circle", { cx: 8, cy: 8, r: 6, class: "marker" }));
      const rest = index === last && names.length > data.colors;
      return html("li", { class: "c" + index }, shape, rest ? "all others" : name);
    });
    byId("kins").replaceChildren(...entries.filter((_, index) => used.has(index)));
    all(".study tbody tr").forEach((line) => {
      const kin = Math.min(rows[Number(line.dataset.row)].group[state.kin], last);
      line.querySelector(".mark").setAttribute("class", "plot mark c" + kin);
    });
  }

  function showTip(dot, at, middle) {
    const tip = byId("tip"), box = byId("drawn"), row = dot.row;
    const against = [points(row, state.score), ratio(row, state.cost)].filter(Boolean).join(", at ");
    tip.replaceChildren(
      html("strong", {}, row.name), html("span", { class: "soft" }, origin(row)),
      html("dl", {},
        html("dt", {}, scoreOf(state.score).name), html("dd", {}, spoken(state.score, dot.score)),
        html("dt", {}, columnOf(state.cost).name), html("dd", {}, row.text[state.cost])),
      against ? html("p", {}, "Beside " + state.recommended + ": " + against) : "");
    tip.hidden = false;
    const room = box.clientWidth - tip.offsetWidth;
    const left = at + 18 <= room ? at + 18 : at - 18 - tip.offsetWidth;
    tip.style.left = Math.max(0, Math.min(left, room)) + "px";
    tip.style.top = Math.max(-20, middle - tip.offsetHeight / 2) + box.offsetTop + "px";
  }
  function hideTip() {
    if (byId("tip")) byId("tip").hidden = true;
  }

  // ---- one network ------------------------------------------------------------------------------------------------
  function select(index) {
    state.selected = state.selected === index ? -1 : index;
    all("tr[data-row]").forEach((line) => {
      const mine = Number(line.dataset.row) === state.selected;
      line.classList.toggle("selected", mine);
      all("button", line).forEach((button) => button.setAttribute("aria-pressed", String(mine)));
    });
    const card = byId("picked"), row = rows[state.selected];
    if (card) {
      card.hidden = !row;
      card.replaceChildren(...(row ? picked(row) : []));
    }
    draw();
  }

  function picked(row) {
    const close = html("button", { type: "button" }, "close");
    close.addEventListener("click", () => select(state.selected));
    const beside = other(row) ? "; in small type beside " + state.recommended : "";
    const entries = scores.filter((one) => row.scores[one.key] && one.key !== "ships")
      .map((one) => [one.name, spoken(one.key, row.scores[one.key]), points(row, one.key)])
      .concat(columns.filter((one) => row.text[one.key] && !one.key.endsWith("_ships"))
        .map((one) => [one.name, row.text[one.key], ratio(row, one.key)]));
    return [
      html("header", {}, html("strong", {}, row.name), html("span", { class: "soft" }, origin(row) + beside), close),
      html("dl", {}, ...entries.map(([name, text, more]) =>
        html("div", {}, html("dt", {}, name), html("dd", {}, text, " ", html("small", {}, more))))),
    ];
  }

  // ---- the tables -------------------------------------------------------------------------------------------------
  function valueOf(index, key) {
    const row = rows[index];
    if (key === "rank") return index;
    if (key === "name") return row.name.toLowerCase();
    const value = key === "px" ? row.px : scoreOf(key) ? row.scores[key] && row.scores[key][0] : row.costs[key];
    return value === undefined ? null : value;
  }

  function sort(key, direction) {
    const order = rows.map((_, index) => index).sort((a, b) => {
      const one = valueOf(a, key), two = valueOf(b, key);
      if (one === null || two === null) return (one === null) - (two === null) || a - b; // what is missing comes last
      return (one < two ? -1 : one > two ? 1 : 0) * direction || a - b;
    });
    all("table.networks tbody").forEach((body) => {
      const lines = new Map(all("tr", body).map((line) => [Number(line.dataset.row), line]));
      order.forEach((index) => body.append(lines.get(index)));
    });
    all("th[data-sort]").forEach((head) => {
      if (head.dataset.sort !== key) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    });
  }

  function filter() {
    const shown = rows.map(matches);
    all("tr[data-row]").forEach((line) => { line.hidden = !shown[Number(line.dataset.row)]; });
    const count = shown.filter(Boolean).length;
    byId("matches").textContent = count < rows.length ? count + " of " + rows.length : "";
    draw();
  }

  // ---- the decision -----------------------------------------------------------------------------------------------
  const KINDS = ["accuracy", "size", "time"];
  const candidates = rows.filter((row) => row.ships && row.costs.weight_ships).map((row) => ({
    name: row.name, top1: row.top1, tied: row.tied, p: row.p, ships: row.ships, bytes: row.costs.weight_ships,
    ms: row.costs.ms_ships === undefined ? null : row.costs.ms_ships,
  }));
  let weigh = data.weigh; // beside the sliders, which would round it

  function decide() {
    KINDS.forEach((kind) => {
      byId("w-" + kind).nextElementSibling.textContent = String(Number(weigh[kind].toPrecision(3)));
    });
    const size = Number(byId("most-size").value) * 1e6 || Infinity, time = Number(byId("most-time").value) || Infinity;
    const allowed = (one) => one.bytes <= size && (time === Infinity || (one.ms !== null && one.ms <= time));
    const found = rule.ranked(candidates, weigh, allowed);
    if (weigh === data.weigh && size === Infinity && time === Infinity) {
      const own = found.findIndex((entry) => entry.one.name === data.recommended);
      if (own > 0) found.unshift(...found.splice(own, 1)); // what the study says of its own weights holds
    }
    state.beyond = new Set(candidates.filter((one) => !allowed(one)).map((one) => one.name));
    state.recommended = found.length ? found[0].one.name : "";
    outcome(found);
    all("tr[data-row]").forEach((line) => {
      const name = rows[Number(line.dataset.row)].name;
      line.classList.toggle("recommended", name === state.recommended);
      line.classList.toggle("beyond", state.beyond.has(name));
      all(".chip.ship", line).forEach((chip) => { chip.hidden = name !== state.recommended; });
    });
    draw();
  }

  function outcome(found) {
    const first = found.length ? found[0].one : null;
    byId("outcome").replaceChildren(...(first
      ? ["★ " + first.name, " ", html("span", { class: "as" }, "as " + first.ships)]
      : ["None is small and fast enough."]));
    byId("outcome").parentNode.classList.toggle("other", state.recommended !== data.recommended);
    byId("because").textContent = first ? because(first) : "Allow more megabytes or milliseconds.";
    const shown = found.slice(0, 5), most = Math.max(...shown.map((entry) => entry.cost), 1e-9);
    byId("ranking").replaceChildren(...shown.map((entry) => {
      const bars = [["a", entry.accuracy], ["s", entry.size], ["t", entry.time]].map(([kind, part]) => {
        const bar = html("i", { class: kind });
        bar.style.width = 100 * part / most + "%";
        return bar;
      });
      return html("li", {}, html("span", {}, entry.one.name),
        html("span", { class: "stack", "aria-hidden": "true" }, ...bars),
        html("span", { class: "num" }, entry.cost.toFixed(2)));
    }));
  }

  function because(one) {
    const best = candidates.reduce((a, b) => b.top1 > a.top1 ? b : a), lost = 100 * (best.top1 - one.top1);
    const share = (part) => part < 0.95 ? Math.max(1, Math.round(part * 100)) + "%" : part.toFixed(1) + " ×";
    const times = (much) => much >= 1000 ? "over a thousand" : much >= 10 ? Math.round(much) : much.toFixed(1);
    const said = [];
    if (one === best) said.push("It is the most accurate one: " + percent(one.top1) + ".");
    else {
      const gap = lost ? lost.toFixed(1) + " points below " : "level with ";
      const time = one.ms && best.ms ? " and " + share(one.ms / best.ms) + " of its time." : ".";
      const doubt = lost > data.notable ? "these photos cannot tell from chance" : "may be chance";
      said.push(percent(one.top1) + ", " + gap + best.name + (one.tied && lost ? ", which " + doubt : "") + ", at "
        + share(one.bytes / best.bytes) + " of its size" + time);
    }
    if (weigh.accuracy && weigh.size) {
      said.push("At these weights a point of top-1 is worth as much as a network "
        + times(2 ** (weigh.accuracy / weigh.size)) + " times smaller.");
    }
    if (weigh.time && candidates.some((entry) => entry.ms === null)) {
      said.push("Time was not measured for all, and does not count.");
    }
    return said.join(" ");
  }

  function weighBy(wanted) {
    weigh = wanted;
    KINDS.forEach((kind) => { byId("w-" + kind).value = weigh[kind]; });
    decide();
  }

  // ---- start ------------------------------------------------------------------------------------------------------
  const deciding = candidates.length > 1;
  all(".js").forEach((part) => {
    const decides = part.id === "decide" || part.querySelector('a[href="#decide"]');
    if (part.id !== "picked" && (deciding || !decides)) part.hidden = false;
  });

  function startPlot() {
    const spread = () => {
      const costs = rows.map((row) => row.costs[state.cost]).filter((cost) => typeof cost === "number");
      state.log = Math.min(...costs) > 0 && Math.max(...costs) / Math.min(...costs) >= data.spread;
      byId("log").checked = state.log;
    };
    const choose = (id, key, then) => byId(id).addEventListener("change", (event) => {
      state[key] = event.target.value;
      if (then) then();
      draw();
    });
    byId("static").hidden = true;
    scores.forEach((one) => byId("score").append(html("option", { value: one.key }, one.name)));
    columns.forEach((one) => byId("cost").append(html("option", { value: one.key }, one.name)));
    choose("score", "score");
    choose("cost", "cost", spread);
    choose("kin", "kin");
    byId("log").addEventListener("change", (event) => { state.log = event.target.checked; draw(); });
    byId("drawn").addEventListener("keydown", walk);
    spread();
    let width = 0;
    new ResizeObserver(() => {
      if (byId("drawn").clientWidth === width) return;
      width = byId("drawn").clientWidth;
      draw();
    }).observe(byId("drawn"));
  }

  function walk(event) {
    const marks = all("#drawn .dot").sort((a, b) => Number(a.dataset.row) - Number(b.dataset.row));
    const here = marks.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (here < 0) return;
    if (step) {
      const next = marks[(here + step + marks.length) % marks.length];
      marks[here].setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus({ preventScroll: true });
    } else if (event.key === "Enter" || event.key === " ") select(Number(marks[here].dataset.row));
    else if (event.key === "Escape") hideTip();
    else return;
    event.preventDefault();
  }

  function startTables() {
    all("th[data-sort]").forEach((head) => {
      const button = html("button", { type: "button", class: "sort" }, ...Array.from(head.childNodes));
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort"), first = scoreOf(head.dataset.sort) ? -1 : 1; // the best come first
        sort(head.dataset.sort, now ? (now === "ascending" ? -1 : 1) : first);
      });
    });
    all("tr[data-row]").forEach((line) => line.addEventListener("click", (event) => {
      if (!event.target.closest("a")) select(Number(line.dataset.row));
    }));
    all(".study .called").forEach((name) => {
      // A click on the button is one on its row; the keyboard needs something to stop at.
      const plain = { type: "button", class: "plain", "aria-pressed": "false" };
      name.replaceChildren(html("button", plain, name.textContent));
    });
    if (!byId("filter")) return;
    byId("filter").addEventListener("input", (event) => {
      state.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      filter();
    });
    all('input[name="start"]').forEach((one) => one.addEventListener("change", () => {
      state.start = one.value;
      filter();
    }));
  }

  function startDecision() {
    KINDS.forEach((kind) => {
      byId("w-" + kind).max = Math.max(2, data.weigh[kind] * 2);
      byId("w-" + kind).addEventListener("input", (event) => {
        weigh = Object.assign({}, weigh, { [kind]: Number(event.target.value) });
        decide();
      });
    });
    ["most-size", "most-time"].forEach((id) => byId(id).addEventListener("input", decide));
    const presets = {
      study: data.weigh, accuracy: { accuracy: 1, size: 0, time: 0 },
      size: { accuracy: 2, size: 0.05, time: 0 }, time: { accuracy: 2, size: 0, time: 0.05 },
    };
    all("[data-weigh]").forEach((button) => {
      button.addEventListener("click", () => weighBy(presets[button.dataset.weigh]));
    });
    weighBy(data.weigh);
  }

  if (byId("static")) startPlot();
  startTables();
  if (deciding) startDecision(); else draw();
})();
