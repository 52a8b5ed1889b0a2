// ---- what a person does -----------------------------------------------------------------

function whole() {
  Object.assign(eye, { target: scene.center, distance: scene.radius * 2.5, fov: 0.9 });
  Object.assign(eye, { turn: 0.3, rise: 0.3 });
  choose(-1);
}

function stand(number) {
  const camera = models[state.model].cameras[number];
  const ahead = camera.ahead;
  const distance = Math.max(1e-3 * scene.radius, dot(add(scene.center, camera.center, -1), ahead));
  eye.target = add(camera.center, ahead, distance);
  Object.assign(eye, { distance, rise: Math.asin(-ahead[1]), turn: Math.atan2(-ahead[0], -ahead[2]) });
  const aspect = canvas.clientWidth / Math.max(1, canvas.clientHeight);
  eye.fov = 2 * Math.atan(Math.max(Math.tan(camera.fov_y / 2), Math.tan(camera.fov_x / 2) / aspect));
  choose(number);
}

function choose(number) {
  state.chosen = number;
  [...$("strip").children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === number)));
  draw();
}

function move(dx, dy) {
  const { right, up } = axes();
  const unit = (2 * eye.distance * Math.tan(eye.fov / 2)) / canvas.clientHeight;
  eye.target = add(add(eye.target, right, -dx * unit), up, dy * unit);
}

function turn(dx, dy) {
  eye.turn -= dx * 0.006;
  eye.rise = Math.min(1.55, Math.max(-1.55, eye.rise + dy * 0.006));
}

function nearer(factor) {
  eye.distance = Math.min(scene.radius * 40, Math.max(scene.radius * 0.01, eye.distance * factor));
}

const fingers = new Map();
canvas.addEventListener("pointerdown", (e) => {
  canvas.setPointerCapture(e.pointerId);
  fingers.set(e.pointerId, e);
});
canvas.addEventListener("pointermove", (e) => {
  const before = fingers.get(e.pointerId);
  if (!before) return;
  const dx = e.clientX - before.clientX, dy = e.clientY - before.clientY;
  if (fingers.size === 2) {
    const [other] = [...fingers.values()].filter((f) => f.pointerId !== e.pointerId);
    const gap = (f) => Math.hypot(f.clientX - other.clientX, f.clientY - other.clientY) + 1;
    nearer(gap(before) / gap(e));
    move(dx / 2, dy / 2);
  } else if (e.buttons & 2 || e.shiftKey) move(dx, dy);
  else turn(dx, dy);
  fingers.set(e.pointerId, e);
  if (state.chosen >= 0) choose(-1);
  draw();
});
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (e) => fingers.delete(e.pointerId));
canvas.addEventListener("contextmenu", (e) => e.preventDefault());
canvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  nearer(Math.exp(Math.sign(e.deltaY) * Math.min(Math.abs(e.deltaY), 100) * 0.0015));
  draw();
}, { passive: false });
canvas.addEventListener("keydown", (e) => {
  const steps = { ArrowLeft: [-12, 0], ArrowRight: [12, 0], ArrowUp: [0, -12], ArrowDown: [0, 12] };
  if (e.key in steps) turn(...steps[e.key]);
  else if (e.key === "+" || e.key === "-") nearer(e.key === "+" ? 0.9 : 1.1);
  else return;
  e.preventDefault();
  draw();
});

function show(number) {
  state.model = number;
  const model = models[number];
  const photos = model.cameras.length === 1 ? "1 photo" : `${model.cameras.length} photos`;
  $("summary").textContent = `${photos}, ${model.count.toLocaleString("en")} points`;
  [...$("models").children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === number)));
  draw();
}

function button(parent, action, ...content) {
  const made = document.createElement("button");
  made.type = "button";
  made.append(...content);
  made.addEventListener("click", action);
  parent.append(made);
  return made;
}

if (models.length > 1) models.forEach((m, i) => button($("models"), () => show(i), m.label));
models[0].cameras.forEach((camera, i) => {
  const image = new Image();
  Object.assign(image, { src: camera.image, alt: camera.name });
  button($("strip"), () => stand(i), image).title = camera.name;
});
const slider = (id, text) => {
  const tell = () => { state[id] = Number($(id).value); $(`${id}-text`).textContent = text(state[id]); draw(); };
  $(id).addEventListener("input", tell);
  tell();
};
slider("confidence", (v) => `${v} %`);
slider("size", (v) => v.toFixed(1));
for (const id of ["cameras", "photos"]) $(id).addEventListener("change", () => { state[id] = $(id).checked; draw(); });
$("reset").addEventListener("click", whole);
$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : !matchMedia("(prefers-color-scheme: light)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  draw();
});
matchMedia("(prefers-color-scheme: light)").addEventListener("change", draw);
new ResizeObserver(draw).observe(canvas);

show(Math.min(models.length - 1, Number(hash.get("model")) || 0));
whole();
if (hash.has("camera")) stand(Math.min(models[0].cameras.length - 1, Number(hash.get("camera")) || 0));
