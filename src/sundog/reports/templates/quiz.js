"use strict";
// The statistics of a game of n rounds with k right answers, each right by chance with probability 1/2.
const quizStatistics = (() => {
  const logChoose = (n, k) => {
    let sum = 0;
    for (let i = 1; i <= k; i++) sum += Math.log(n - k + i) - Math.log(i);
    return sum;
  };
  // Probability of k or more successes in n trials of probability p.
  const atLeast = (k, n, p = 0.5) => {
    if (k <= 0) return 1;
    if (p <= 0) return 0;
    if (p >= 1) return 1;
    let sum = 0;
    for (let i = k; i <= n; i++) sum += Math.exp(logChoose(n, i) + i * Math.log(p) + (n - i) * Math.log1p(-p));
    return Math.min(1, sum);
  };
  // Where an increasing function of p in 0 .. 1 reaches a value.
  const crossing = (f, value) => {
    let low = 0, high = 1;
    for (let i = 0; i < 60; i++) {
      const middle = (low + high) / 2;
      if (f(middle) < value) low = middle; else high = middle;
    }
    return (low + high) / 2;
  };
  // Clopper and Pearson's interval: both tails hold (1 - level) / 2 at most.
  const interval = (k, n, level = 0.95) => {
    const tail = (1 - level) / 2;
    return [k === 0 ? 0 : crossing(p => atLeast(k, n, p), tail),
            k === n ? 1 : crossing(p => atLeast(k + 1, n, p), 1 - tail)];
  };
  return { atLeast, interval };
})();

(() => {
  const get = id => document.getElementById(id);
  const facts = JSON.parse(get("quiz").textContent);
  const sheet = get("sheet"), pairs = facts.mode === "pairs";
  const answers = unscramble(facts.answers, sheet.src.split(",")[1].slice(-facts.hashed));
  let round = -1, open = false, shownAt = 0, answered = [], games = 0;

  function unscramble(text, seed) {
    let state = 2166136261;
    for (let i = 0; i < seed.length; i++) state = Math.imul(state ^ seed.charCodeAt(i), 16777619);
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)).map(byte => {
      state = (state + 0x6D2B79F5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return byte ^ ((t ^ (t >>> 14)) & 255);
    });
    return JSON.parse(new TextDecoder().decode(bytes));
  }

  function draw(canvas, tile) {
    const w = facts.width, h = facts.height, x = (tile % facts.columns) * w, y = Math.floor(tile / facts.columns) * h;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(sheet, x, y, w, h, 0, 0, w, h);
  }

  const percent = x => Math.round(100 * x) + " %";
  const rightOnes = () => answered.filter(a => a.right).length;
  const choices = () => [get("choice0"), get("choice1")];

  function show(section) {
    for (const id of ["intro", "play", "end"]) get(id).hidden = id !== section;
    scrollTo(0, 0);
  }

  // What a refresh, the way back, or a second visit finds again; a browser that keeps nothing plays without.
  const kept = `sundog-quiz ${facts.real.fingerprint} ${facts.fake.fingerprint} ${facts.mode} ${facts.seed}`;
  function keep() {
    try {
      localStorage.setItem(kept, JSON.stringify({ answered, games, feedback: get("feedback").checked,
                                                  player: get("player").value, rounds: facts.rounds }));
    } catch { /* private windows */ }
  }

  function resume() {
    let found = null;
    try { found = JSON.parse(localStorage.getItem(kept)); } catch { /* nothing readable */ }
    if (!found || found.rounds !== facts.rounds || !Array.isArray(found.answered)) return;
    games = found.games;
    get("feedback").checked = found.feedback;
    get("player").value = found.player;
    answered = found.answered;
    round = answered.length - 1;
    if (games) show("play"), advance();
  }

  function begin() {
    answered = [];
    round = -1;
    games += 1;
    show("play");
    keep();
    advance();
  }

  function advance() {
    round += 1;
    if (round === facts.rounds) return finish();
    open = true;
    const canvases = document.querySelectorAll("#play canvas");
    canvases.forEach((canvas, side) => draw(canvas, pairs ? 2 * round + side : round));
    document.querySelectorAll("#play .frame").forEach((frame, side) => {
      frame.classList.remove("is-real", "is-fake");
      frame.querySelector(".name").textContent = pairs ? ["Left", "Right"][side] : "";
    });
    choices().forEach(button => { button.disabled = false; });
    get("next").disabled = true;
    get("said").textContent = "";
    get("place").textContent = `Round ${round + 1} of ${facts.rounds}`;
    get("tally").textContent = get("feedback").checked && round ? `${rightOnes()} right so far` : "";
    get("progress").value = round;
    shownAt = performance.now();
  }

  function choose(choice) {
    if (!open) return;
    open = false;
    const truth = answers.truth[round], right = choice === truth, rows = answers.rows[round];
    const shown = pairs ? { real_row: rows[0], fake_row: rows[1] } : { [truth ? "fake_row" : "real_row"]: rows[0] };
    answered.push({ round: round + 1, choice, truth, right, ...shown,
                    seconds: Math.round(performance.now() - shownAt) / 1000 });
    keep();
    if (!get("feedback").checked) return advance();
    choices().forEach(button => { button.disabled = true; });
    document.querySelectorAll("#play .frame").forEach((frame, side) => {
      const fake = pairs ? side === truth : truth === 1;
      frame.classList.add(fake ? "is-fake" : "is-real");
      frame.querySelector(".name").textContent = fake ? "fake" : "real";
    });
    const told = pairs ? `the fake was on the ${truth ? "right" : "left"}` : `it was ${truth ? "a fake" : "real"}`;
    get("said").textContent = (right ? "✓ Right: " : "✗ Wrong: ") + told + ".";
    get("tally").textContent = `${rightOnes()} right so far`;
    get("progress").value = round + 1;
    get("next").disabled = false;
    get("next").focus({ preventScroll: true });
  }

  function finish() {
    const n = facts.rounds, k = rightOnes(), p = quizStatistics.atLeast(k, n);
    const [low, high] = quizStatistics.interval(k, n);
    get("verdict").textContent = p < 0.05 ? "You can tell them apart."
      : high < 0.5 ? "You see a difference, and take the fakes for real."
      : "No evidence that you can tell them apart.";
    get("score").textContent = `${k} of ${n} right (${percent(k / n)})`;
    get("interval").textContent = `95 % interval of your rate: ${percent(low)} to ${percent(high)} (Clopper–Pearson); `
      + "a guesser has 50 %.";
    get("chance").textContent = `Somebody who guesses gets ${k} or more right in ${inWords(p)} of all games `
      + `(p = ${p.toPrecision(2)}).`;
    get("bar").innerHTML = '<div class="axis"></div><div class="half"></div>'
      + `<div class="span" style="left:${100 * low}%;width:${100 * (high - low)}%"></div>`
      + `<div class="dot" style="left:${100 * k / n}%"></div><span class="tick" style="left:0">0</span>`
      + '<span class="tick" style="left:50%">guessing</span><span class="tick end" style="left:100%">all right</span>';
    get("bar").setAttribute("aria-label", get("interval").textContent);
    get("seen").hidden = games < 2;
    get("games").textContent = games;
    gallery();
    show("end");
    get("verdict").focus({ preventScroll: true });
  }

  function inWords(p) {
    const share = 100 * p;
    return share >= 1 ? `${share.toFixed(share < 10 ? 1 : 0)} %` : share >= 0.001 ? `${share.toPrecision(1)} %`
      : "less than 0.001 %";
  }

  function gallery() {
    get("gallery").replaceChildren(...answered.map((a, i) => {
      const item = document.createElement("li"), two = document.createElement("div"), text = document.createElement("div");
      two.className = "two";
      (pairs ? [0, 1] : [0]).forEach(side => {
        const box = document.createElement("div"), canvas = document.createElement("canvas");
        const fake = pairs ? side === a.truth : a.truth === 1;
        canvas.width = facts.width;
        canvas.height = facts.height;
        canvas.className = fake ? "fake" : "real";
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", fake ? "fake" : "real");
        draw(canvas, pairs ? 2 * i + side : i);
        box.append(canvas, fake ? "fake" : "real");
        two.append(box);
      });
      const said = pairs ? ["left", "right"][a.choice] : ["real", "fake"][a.choice];
      text.className = "mark";
      text.textContent = `${i + 1}. ${a.right ? "✓" : "✗"} you said ${said}`;
      item.append(text, two);
      return item;
    }));
  }

  function result() {
    const n = facts.rounds, k = rightOnes(), { answers: hidden, ...quiz } = facts;
    return { sundog_quiz: 1, quiz, player: get("player").value.trim(), game: games, feedback: get("feedback").checked,
             finished: new Date().toISOString(), n, right: k, rate: k / n, interval_95: quizStatistics.interval(k, n),
             p_value: quizStatistics.atLeast(k, n), rounds: answered };
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(result(), null, 1)], { type: "application/json" }));
    link.download = `quiz-${facts.seed}-${(get("player").value.trim() || "answers").replace(/[^\w-]+/g, "_")}.json`;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  sheet.decode().then(resume);
  get("player").addEventListener("change", keep);
  get("start").addEventListener("click", begin);
  get("again").addEventListener("click", begin);
  get("save").addEventListener("click", save);
  get("next").addEventListener("click", () => { if (!open) advance(); });
  choices().forEach((button, choice) => button.addEventListener("click", () => choose(choice)));
  document.addEventListener("keydown", event => {
    if (get("play").hidden || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const keys = pairs ? { ArrowLeft: 0, ArrowRight: 1 } : { ArrowLeft: 0, ArrowRight: 1, r: 0, f: 1 };
    const choice = keys[event.key] ?? keys[event.key.toLowerCase()];
    if (choice === undefined) return;
    event.preventDefault();
    choose(choice);
  });
})();
