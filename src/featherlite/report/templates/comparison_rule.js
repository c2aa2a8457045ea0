"use strict";
// What the page computes and Python computes too; the tests hold both against each other.
const rule = (function () {
  // Which of the points [cost, score] no other one beats, by rising cost; of equal points all.
  function front(points) {
    const order = points.map((_, index) => index)
      .sort((a, b) => points[a][0] - points[b][0] || points[b][1] - points[a][1] || a - b);
    const found = [];
    order.forEach((index) => {
      const last = found.length ? points[found[found.length - 1]] : null;
      const same = last && last[0] === points[index][0] && last[1] === points[index][1];
      if (!last || points[index][1] > last[1] || same) found.push(index);
    });
    return found;
  }

  // Round values within low..high, at most `most`, in steps of 1, 2 or 5 times a power of ten.
  function linearTicks(low, high, most) {
    if (!(high > low)) return [low];
    const power = 10 ** Math.floor(Math.log10((high - low) / most));
    const step = [1, 2, 5, 10, 20].map((factor) => factor * power).find((one) => (high - low) / one <= most - 1 + 1e-9);
    const ticks = [];
    for (let index = Math.ceil(low / step - 1e-9); index <= Math.floor(high / step + 1e-9); index += 1) {
      ticks.push(Number((index * step).toFixed(12)));
    }
    return ticks;
  }

  // Round values within low..high, evenly strewn over its powers of ten.
  function logTicks(low, high, most) {
    let ticks = [];
    for (const factors of [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
      ticks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
        factors.forEach((factor) => {
          const tick = Number((factor * 10 ** power).toPrecision(12));
          if (low <= tick * (1 + 1e-9) && tick <= high * (1 + 1e-9)) ticks.push(tick);
        });
      }
      if (ticks.length <= most) return ticks;
    }
    return ticks.filter((_, index) => index % Math.ceil(ticks.length / most) === 0);
  }

  // The candidates [{name, top1, bytes, ms, p}] that no other is as good as in everything and better in one.
  function efficient(candidates) {
    const timed = candidates.every((one) => one.ms !== null);
    const costs = candidates.map((one) => [-one.top1, one.bytes, timed ? one.ms : 0]);
    return candidates.filter((_, index) => !costs.some((other) =>
      other.some((value, axis) => value !== costs[index][axis]) &&
      other.every((value, axis) => value <= costs[index][axis])));
  }

  // What each candidate pays, the least first, in parts; those that `allowed` refuses stay out of the choice, not of
  // what the others are held against. Points below the best count as far as they are sure: times 1 - p.
  function ranked(candidates, weigh, allowed) {
    if (!candidates.length) return [];
    const timed = candidates.every((one) => one.ms !== null);
    const best = Math.max(...candidates.map((one) => one.top1));
    const smallest = Math.max(1, Math.min(...candidates.map((one) => one.bytes)));
    const quickest = timed ? Math.min(...candidates.map((one) => one.ms)) : 0;
    const priced = efficient(candidates.filter((one) => !allowed || allowed(one))).map((one) => {
      const accuracy = weigh.accuracy * ((1 - one.p) * 100 * (best - one.top1));
      const size = weigh.size * Math.log2(Math.max(1, one.bytes) / smallest);
      const time = weigh.time * (quickest && one.ms ? Math.log2(one.ms / quickest) : 0);
      return { one, accuracy, size, time, cost: Math.round((accuracy + size + time) * 1e9) / 1e9 };
    });
    const order = (a, b) => a.one.name < b.one.name ? -1 : a.one.name > b.one.name ? 1 : 0;
    return priced.sort((a, b) => a.cost - b.cost || b.one.top1 - a.one.top1 || a.one.bytes - b.one.bytes
      || order(a, b));
  }

  return { front, linearTicks, logTicks, efficient, ranked };
})();
