"use strict";
// Draws the charts of a page from their numbers: read off by pointer or arrow keys, enlarged by dragging or +, hidden by curve.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const COLOURS = ["#0b63a5", "#b8460e", "#00734f", "#8a3a7b", "#6b5900", "#44494f", "#b00d3a", "#2f6f7f"];
  const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
  const WIDEST = 560, NARROWEST = 320, HEIGHT = 360, LEFT = 72, RIGHT = 12, TOP = 10, BOTTOM = 44;

  const element = (name, attributes = {}, text) => {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const html = (name, attributes = {}, text) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const number = (value) => {
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e15) return String(value);
    const short = Number(value.toPrecision(6));
    return size < 1e-3 || size >= 1e6 ? short.toExponential() : String(short);
  };
  // A mark of an axis, with the digits that tell it from its neighbour.
  const label = (value, step) => {
    const size = Math.abs(value);
    if (!step || size === 0) return number(value);
    const last = Math.floor(Math.log10(step) + 1e-9);
    if (size >= 1e-3 && size < 1e6) return value.toFixed(Math.min(Math.max(-last, 0), 15));
    const digits = Math.floor(Math.log10(size) + 1e-9) - last;
    return value.toExponential(Math.min(Math.max(digits, 0), 15));
  };
  const colour = (k) => COLOURS[k % COLOURS.length];
  const dash = (k) => DASHES[Math.floor(k / COLOURS.length) % DASHES.length];

  // Round values between two ends: powers of ten, their parts where these are few, or steps of 1, 2, 5.
  const marks = ([low, high], log, most) => {
    if (log && high / low > 8) {
      const found = [];
      const decades = Math.log10(high / low);
      const every = Math.max(1, Math.ceil(decades / most));
      for (let e = Math.ceil(Math.log10(low) - 1e-9); e <= Math.log10(high) + 1e-9; e += every) found.push(10 ** e);
      if (found.length > 1) return found;
    }
    const span = high - low;
    const raw = span / most;
    const unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((k) => k * unit).find((s) => s >= raw);
    // Bounded: beyond 2^53 steps from 0 a count stands still.
    const first = Math.ceil(low / step);
    const found = [];
    for (let i = 0; i <= 2 * most; i++) {
      if ((first + i) * step <= high + 1e-9 * span) found.push((first + i) * step);
    }
    return found;
  };

  // An axis from values to places.
  const scale = ([low, high], [from, to], log) => {
    const f = log ? Math.log : (value) => value;
    const a = f(low), b = f(high);
    return {
      place: (value) => from + (to - from) * (f(value) - a) / (b - a),
      value: (place) => { const t = a + (b - a) * (place - from) / (to - from); return log ? Math.exp(t) : t; },
    };
  };

  const extent = (values, log) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) {
      if (!Number.isFinite(value) || (log && value <= 0)) continue;
      low = Math.min(low, value); high = Math.max(high, value);
    }
    if (low > high) return log ? [1, 10] : [0, 1];
    // What differs in rounding alone is constant.
    if (high - low <= 1e-12 * Math.max(Math.abs(low), Math.abs(high))) return log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
    if (log) { const margin = (high / low) ** 0.04; return [low / margin, high * margin]; }
    const margin = 0.04 * (high - low);
    return [low - margin, high + margin];
  };

  class Chart {
    constructor(figure, data, summary) {
      this.figure = figure;
      this.data = data;
      this.series = data.kind === "lines" ? data.curves : data.kind === "scatter" ? data.clouds : [];
      this.hidden = new Set();
      this.logX = data.kind === "lines" && data.log_x;
      this.logY = data.kind === "lines" && data.log_y;
      this.axes = data.kind === "lines" ? [data.x, data.y] : data.axes;
      this.view = null;
      this.cursor = null;
      const words = `words-${figure.dataset.chart}`;
      const title = html("p", { class: "title" }, data.title);
      this.svg = element("svg", {
        role: "application", "aria-roledescription": "chart", tabindex: "0", "aria-label": data.title, "aria-describedby": words,
      });
      const described = html("p", { id: words, class: "unseen" }, `${summary} Arrow keys read values, plus and minus enlarge, escape resets.`);
      // A pointer that moves is not read aloud; keys are.
      this.readout = html("p", { class: "readout", "aria-live": "off" });
      figure.prepend(title, this.controls(), this.svg, this.readout, described);
      this.listen();
      this.fit();
    }

    // Takes the width of the page, so that letters keep their size on a small one.
    fit() {
      const room = Math.round(this.figure.clientWidth) || WIDEST;
      const width = Math.min(Math.max(room, NARROWEST), WIDEST);
      if (width === this.width) return;
      this.width = width;
      this.height = this.data.kind === "lines" ? HEIGHT : width - LEFT - RIGHT + TOP + BOTTOM;
      this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
      this.draw();
    }

    controls() {
      const bar = html("div", { class: "controls" });
      this.series.forEach((series, k) => {
        if (!series.points.length) return;
        const button = html("button", { type: "button", "aria-pressed": "true", title: "Show or hide" });
        const swatch = element("svg", { class: "swatch", viewBox: "0 0 28 12", "aria-hidden": "true" });
        swatch.append(this.data.kind === "lines"
          ? element("path", { d: "M0 6H28", stroke: colour(k), "stroke-width": 3, "stroke-dasharray": dash(k) })
          : element("circle", { cx: 14, cy: 6, r: 5, fill: colour(k) }));
        button.append(swatch, series.name);
        button.addEventListener("click", () => {
          const hide = !this.hidden.has(k);
          if (hide) this.hidden.add(k); else this.hidden.delete(k);
          button.setAttribute("aria-pressed", String(!hide));
          this.forget();
          if (!this.shown().some(([series]) => series.points.length)) this.view = null;
          this.draw();
        });
        bar.append(button);
      });
      if (this.data.kind === "lines" && this.data.ticks.length) bar.append(html("span", {}, `❘ ${this.data.ticks_name}`));
      if (this.data.kind === "density") {
        bar.append(html("span", {}, `darkest cell: ${number(Math.max(0, ...this.data.counts))} points`));
      }
      const tool = (name, act) => {
        const button = html("button", { type: "button", class: "tool" }, name);
        button.addEventListener("click", () => { act(button); this.draw(); });
        bar.append(button);
        return button;
      };
      if (this.data.kind === "lines" && this.series.some((s) => s.points.some((p) => p[1] > 0))) {
        const log = tool("logarithmic", (button) => {
          this.logY = !this.logY;
          this.view = null;
          if (this.cursor && !this.drawable(this.cursor.point)) this.forget();
          button.setAttribute("aria-pressed", String(this.logY));
        });
        log.setAttribute("aria-pressed", String(this.logY));
      }
      tool("reset zoom", () => { this.view = null; });
      return bar;
    }

    // Whether a point has a place on both axes.
    drawable(point) { return (!this.logX || point[0] > 0) && (!this.logY || point[1] > 0); }

    shown() { return this.series.map((series, k) => [series, k]).filter(([, k]) => !this.hidden.has(k)); }

    // The ranges of both axes: what was zoomed to, or everything.
    ranges() {
      if (this.view) return this.view;
      if (this.data.kind === "density") return this.data.range;
      const shown = this.shown();
      const setting = shown.some(([series]) => !series.is_cut_off) ? shown.filter(([series]) => !series.is_cut_off) : shown;
      const points = setting.flatMap(([series]) => series.points);
      const ticks = this.data.kind === "lines" ? this.data.ticks : [];
      let ranges = [
        extent(points.map((p) => p[0]).concat(ticks), this.logX), extent(points.map((p) => p[1]), this.logY),
      ];
      if (this.data.kind === "scatter") {
        const span = Math.max(ranges[0][1] - ranges[0][0], ranges[1][1] - ranges[1][0]) / 2;
        ranges = ranges.map(([low, high]) => [(low + high) / 2 - span, (low + high) / 2 + span]);
      }
      return ranges;
    }

    draw() {
      const ranges = this.ranges();
      this.x = scale(ranges[0], [LEFT, this.width - RIGHT], this.logX);
      this.y = scale(ranges[1], [this.height - BOTTOM, TOP], this.logY);
      const inside = element("g");
      const clip = `clip-${this.figure.dataset.chart}`;
      const definitions = element("defs");
      const rectangle = element("clipPath", { id: clip });
      rectangle.append(element("rect", { x: LEFT, y: TOP, width: this.width - LEFT - RIGHT, height: this.height - TOP - BOTTOM }));
      definitions.append(rectangle);
      inside.setAttribute("clip-path", `url(#${clip})`);
      const frame = element("g");
      const xMarks = marks(ranges[0], this.logX, this.width < 450 ? 4 : 7), yMarks = marks(ranges[1], this.logY, 6);
      const between = (found, log) => (log && found.length > 1 && found[1] / found[0] > 8 ? 0 : found[1] - found[0]);
      for (const value of xMarks) {
        const at = this.x.place(value);
        frame.append(element("path", { class: "grid", d: `M${at} ${TOP}V${this.height - BOTTOM}` }),
          element("text", { x: at, y: this.height - BOTTOM + 16, "text-anchor": "middle" }, label(value, between(xMarks, this.logX))));
      }
      for (const value of yMarks) {
        const at = this.y.place(value);
        frame.append(element("path", { class: "grid", d: `M${LEFT} ${at}H${this.width - RIGHT}` }),
          element("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, label(value, between(yMarks, this.logY))));
      }
      frame.append(
        element("path", { class: "axis", fill: "none", d: `M${LEFT} ${TOP}V${this.height - BOTTOM}H${this.width - RIGHT}` }),
        element("text", { x: (LEFT + this.width - RIGHT) / 2, y: this.height - 8, "text-anchor": "middle" }, this.axes[0]),
        element("text", { transform: `translate(13 ${(TOP + this.height - BOTTOM) / 2}) rotate(-90)`, "text-anchor": "middle" }, this.axes[1]));
      if (this.data.kind === "density") this.cells(inside); else this.marksOf(inside);
      if (this.data.kind === "lines" && this.data.ticks.length) this.ticks(inside);
      if (this.cursor) {
        const [x, y] = [this.x.place(this.cursor.point[0]), this.y.place(this.cursor.point[1])];
        inside.append(element("path", { d: `M${x} ${TOP}V${this.height - BOTTOM}`, stroke: "#6a737d", "stroke-dasharray": "3 3" }),
          element("circle", { cx: x, cy: y, r: 5, fill: "none", stroke: colour(this.cursor.k), "stroke-width": 2.5 }));
      }
      this.svg.replaceChildren(definitions, frame, inside);
    }

    marksOf(inside) {
      for (const [series, k] of this.shown()) {
        const place = (p) => [this.x.place(p[0]), this.y.place(p[1])];
        const places = series.points.filter((p) => this.drawable(p)).map(place);
        if (this.data.kind === "scatter") {
          const path = places.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
          inside.append(element("path", { d: path, stroke: colour(k), "stroke-width": 3.2, "stroke-linecap": "round", "stroke-opacity": 0.5 }));
          continue;
        }
        // A point without a place is a gap.
        let pen = "M";
        const path = series.points.map((p) => {
          if (!this.drawable(p)) { pen = "M"; return ""; }
          const [x, y] = place(p);
          const part = `${pen}${x.toFixed(2)} ${y.toFixed(2)}`;
          pen = "L";
          return part;
        }).join("");
        inside.append(element("path", { d: path, fill: "none", stroke: colour(k), "stroke-width": 2, "stroke-dasharray": dash(k), "stroke-linejoin": "round" }));
        if (series.marked || places.length === 1) {
          for (const [x, y] of places) inside.append(element("circle", { cx: x, cy: y, r: 3.2, fill: colour(k) }));
        }
      }
    }

    ticks(inside) {
      const bottom = this.height - BOTTOM;
      for (const tick of this.data.ticks) {
        if (this.logX && tick <= 0) continue;
        inside.append(element("path", { d: `M${this.x.place(tick)} ${bottom}v-12`, stroke: "#1b1f24", "stroke-width": 1.4 }));
      }
    }

    cells(inside) {
      const { cells, counts, range } = this.data;
      const most = Math.max(1, ...counts);
      counts.forEach((count, at) => {
        if (!count) return;
        const edge = (axis, k) => range[axis][0] + (range[axis][1] - range[axis][0]) * k / cells;
        const [i, j] = [at % cells, Math.floor(at / cells)];
        const [x, y] = [this.x.place(edge(0, i)), this.y.place(edge(1, j + 1))];
        inside.append(element("rect", {
          x, y, width: this.x.place(edge(0, i + 1)) - x + 0.3, height: this.y.place(edge(1, j)) - y + 0.3,
          fill: "#0b3d66", "fill-opacity": (0.12 + 0.88 * Math.sqrt(count / most)).toFixed(3),
        }));
      });
      if (!this.cell) return;
      const edge = (axis, k) => range[axis][0] + (range[axis][1] - range[axis][0]) * k / cells;
      const [left, right] = [0, 1].map((k) => this.x.place(edge(0, this.cell[0] + k)));
      const [bottom, top] = [0, 1].map((k) => this.y.place(edge(1, this.cell[1] + k)));
      inside.append(element("rect", { x: left, y: top, width: right - left, height: bottom - top, fill: "none", stroke: "#b8460e", "stroke-width": 2 }));
    }

    // Points at nothing.
    forget() {
      this.cursor = null;
      this.readout.textContent = "";
    }

    // Says a cell of a density, by its places along both axes.
    tellCell(cell) {
      const { cells, counts, range } = this.data;
      this.cell = cell.map((k) => Math.min(Math.max(k, 0), cells - 1));
      const edge = (axis, k) => range[axis][0] + (range[axis][1] - range[axis][0]) * k / cells;
      const edges = (axis) => [0, 1].map((k) => number(Number(edge(axis, this.cell[axis] + k).toPrecision(4)))).join(" to ");
      this.readout.textContent = `${this.axes[0]} ${edges(0)}, ${this.axes[1]} ${edges(1)}: ${counts[this.cell[1] * cells + this.cell[0]]} points`;
      this.draw();
    }

    // The neighbour of the cell that was told last; at first the fullest.
    stepCell(by) {
      const { cells, counts } = this.data;
      const fullest = counts.indexOf(Math.max(...counts));
      this.tellCell(this.cell ? this.cell.map((k, axis) => k + by[axis]) : [fullest % cells, Math.floor(fullest / cells)]);
    }

    // Says a point of a series.
    tell(point, k) {
      this.cursor = { point, k };
      const name = this.series.length > 1 ? `${this.series[k].name}: ` : "";
      this.readout.textContent = `${name}${this.axes[0]} ${number(point[0])}, ${this.axes[1]} ${number(point[1])}`;
      this.draw();
    }

    place(event) {
      const box = this.svg.getBoundingClientRect();
      return [(event.clientX - box.left) * this.width / box.width, (event.clientY - box.top) * this.height / box.height];
    }

    // Whether a place lies between the axes.
    inside([x, y]) { return x >= LEFT && x <= this.width - RIGHT && y >= TOP && y <= this.height - BOTTOM; }

    // Says what is under the pointer.
    read(at) {
      this.readout.setAttribute("aria-live", "off");
      if (this.data.kind !== "density") {
        const found = this.inside(at) ? this.nearest(at) : null;
        if (found) this.tell(...found);
        return;
      }
      const { cells, range } = this.data;
      const cell = [this.x.value(at[0]), this.y.value(at[1])].map((value, axis) => Math.floor((value - range[axis][0]) / (range[axis][1] - range[axis][0]) * cells));
      if (this.inside(at) && cell.every((k) => k >= 0 && k < cells)) this.tellCell(cell);
    }

    nearest([x, y]) {
      let best = null, least = Infinity;
      for (const [series, k] of this.shown()) {
        for (const point of series.points.filter((p) => this.drawable(p))) {
          if (!this.inside([this.x.place(point[0]), this.y.place(point[1])])) continue;
          const distance = (this.x.place(point[0]) - x) ** 2 + (this.y.place(point[1]) - y) ** 2;
          if (distance < least) { least = distance; best = [point, k]; }
        }
      }
      return best;
    }

    zoom(factor) {
      const around = this.cursor ? this.cursor.point : [0, 1].map((axis) => {
        const ends = axis ? [this.height - BOTTOM, TOP] : [LEFT, this.width - RIGHT];
        return (axis ? this.y : this.x).value((ends[0] + ends[1]) / 2);
      });
      if (this.series.length && !this.shown().length) return;
      const view = this.ranges().map(([low, high], axis) => {
        const log = axis ? this.logY : this.logX;
        const centre = around[axis];
        return log
          ? [centre * (low / centre) ** factor, centre * (high / centre) ** factor]
          : [centre + (low - centre) * factor, centre + (high - centre) * factor];
      });
      this.look(view);
    }

    // Takes a view that numbers can resolve.
    look(view) {
      const fine = view.every(([low, high]) => Number.isFinite(high - low) && high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high)));
      if (fine) this.view = view;
      this.draw();
    }

    step(by) {
      const shown = this.shown().filter(([series]) => series.points.some((p) => this.drawable(p)));
      if (!shown.length) return;
      const k = this.cursor && !this.hidden.has(this.cursor.k) ? this.cursor.k : shown[0][1];
      const points = this.series[k].points.filter((p) => this.drawable(p));
      if (!points.length) return;
      const at = this.cursor ? points.indexOf(this.cursor.point) + by : by > 0 ? 0 : points.length - 1;
      this.tell(points[Math.min(Math.max(at, 0), points.length - 1)], k);
    }

    // The same place of the next curve.
    other(by) {
      const shown = this.shown().filter(([series]) => series.points.some((p) => this.drawable(p))).map(([, k]) => k);
      if (!shown.length) return;
      if (!this.cursor) return this.step(1);
      const k = shown[(shown.indexOf(this.cursor.k) + by + shown.length) % shown.length];
      const x = this.cursor.point[0];
      const nearest = this.series[k].points.filter((p) => this.drawable(p)).reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
      this.tell(nearest, k);
    }

    listen() {
      let from = null, box = null;
      this.svg.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        from = this.place(event);
        this.svg.setPointerCapture(event.pointerId);
      });
      this.svg.addEventListener("pointermove", (event) => {
        const at = this.place(event);
        if (!from) {
          this.read(at);
          return;
        }
        const [x, y] = [Math.min(from[0], at[0]), Math.min(from[1], at[1])];
        box?.remove();
        box = element("rect", { x, y, width: Math.abs(at[0] - from[0]), height: Math.abs(at[1] - from[1]), fill: "#0b63a5", "fill-opacity": 0.12, stroke: "#0b63a5" });
        this.svg.append(box);
      });
      this.svg.addEventListener("pointerup", (event) => {
        const at = this.place(event);
        box?.remove();
        const wide = from && Math.abs(at[0] - from[0]) > 8, high = from && Math.abs(at[1] - from[1]) > 8;
        if (wide || high) {
          const sorted = (scale, a, b) => [scale.value(a), scale.value(b)].sort((p, q) => p - q);
          if (this.data.kind === "lines") {
            // A flat or a narrow drag enlarges along one axis alone.
            const whole = this.ranges();
            this.look([wide ? sorted(this.x, from[0], at[0]) : whole[0], high ? sorted(this.y, from[1], at[1]) : whole[1]]);
          } else {
            // Units stay equal: the square about the box.
            const box = [sorted(this.x, from[0], at[0]), sorted(this.y, from[1], at[1])];
            const half = Math.max(...box.map(([low, high]) => high - low)) / 2;
            this.look(box.map(([low, high]) => [(low + high) / 2 - half, (low + high) / 2 + half]));
          }
        }
        from = box = null;
      });
      this.svg.addEventListener("pointercancel", () => { box?.remove(); from = box = null; });
      this.svg.addEventListener("pointerleave", () => {
        this.forget();
        this.cell = null;
        this.draw();
      });
      this.svg.addEventListener("dblclick", () => { this.view = null; this.draw(); });
      this.svg.addEventListener("keydown", (event) => {
        const arrows = this.data.kind === "density" ? {
          ArrowRight: () => this.stepCell([1, 0]), ArrowLeft: () => this.stepCell([-1, 0]),
          ArrowDown: () => this.stepCell([0, -1]), ArrowUp: () => this.stepCell([0, 1]),
        } : {
          ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1),
          ArrowDown: () => this.other(1), ArrowUp: () => this.other(-1),
        };
        const act = {
          ...arrows,
          "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2),
          Escape: () => { this.view = null; this.cell = null; this.forget(); this.draw(); },
        }[event.key];
        if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        this.readout.setAttribute("aria-live", "polite");
        act();
      });
    }
  }

  const drawn = [];
  const charts = JSON.parse(document.getElementById("charts").textContent);
  for (const figure of document.querySelectorAll("figure.chart")) {
    const chart = charts[Number(figure.dataset.chart)];
    try {
      drawn.push(new Chart(figure, chart, figure.dataset.summary));
    } catch (error) {
      // One chart that fails takes no other with it, and its numbers stand below.
      console.error(error);
    }
  }
  window.addEventListener("resize", () => drawn.forEach((chart) => chart.fit()));
  // On paper nothing can be opened.
  const closed = [];
  window.addEventListener("beforeprint", () => document.querySelectorAll("details.config:not([open])").forEach((config) => {
    config.open = true;
    closed.push(config);
  }));
  window.addEventListener("afterprint", () => closed.splice(0).forEach((config) => { config.open = false; }));
})();
