"use strict";
// World: y up. The eye circles around `eye.target`; angles in radians, lengths in scene units.

const scene = JSON.parse(document.getElementById("scene").textContent);
const $ = (id) => document.getElementById(id);
const canvas = $("view");
const gl = canvas.getContext("webgl2", { antialias: false, alpha: false });
if (!gl) { $("failure").hidden = false; throw new Error("WebGL 2 is not offered"); }

const hash = new URLSearchParams(location.hash.slice(1));
const state = { model: 0, confidence: 0, size: 1, cameras: true, photos: true, chosen: -1 };
const eye = { target: [0, 0, 0], turn: 0, rise: 0.25, distance: 1, fov: 0.9 };

// ---- vectors and 4 x 4 matrices, column by column ---------------------------------------

const add = (a, b, s = 1) => a.map((x, i) => x + s * b[i]);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

function axes() {
  const [st, ct, sr, cr] = [Math.sin(eye.turn), Math.cos(eye.turn), Math.sin(eye.rise), Math.cos(eye.rise)];
  const back = [st * cr, sr, ct * cr];
  const right = [ct, 0, -st];
  return { back, right, up: cross(back, right) };
}

function viewProjection(aspect, near, far) {
  const { back, right, up } = axes();
  const position = add(eye.target, back, eye.distance);
  const f = 1 / Math.tan(eye.fov / 2);
  const rows = [
    [...right, -dot(right, position)].map((x) => (x * f) / aspect),
    [...up, -dot(up, position)].map((x) => x * f),
    [...back, -dot(back, position)],
  ];
  const a = (near + far) / (near - far), b = (2 * near * far) / (near - far);
  const z = rows[2].map((x, i) => a * x + (i === 3 ? b : 0));
  const w = rows[2].map((x) => -x);
  return Float32Array.from([0, 1, 2, 3].flatMap((i) => [rows[0][i], rows[1][i], z[i], w[i]]));
}

// ---- programs ---------------------------------------------------------------------------

const POINTS = [`#version 300 es
uniform mat4 project; uniform vec3 low, extent; uniform float pixels, least;
layout(location=0) in vec3 place; layout(location=1) in vec3 rgb; layout(location=2) in float sure;
out vec3 color;
void main() {
  gl_Position = sure < least ? vec4(2, 2, 2, 1) : project * vec4(low + place * extent, 1);
  gl_PointSize = clamp(pixels / gl_Position.w, 1.0, 64.0);
  color = rgb;
}`, `#version 300 es
precision highp float; in vec3 color; out vec4 shown;
void main() {
  vec2 d = gl_PointCoord - 0.5;
  if (dot(d, d) > 0.25) discard;
  shown = vec4(color, 1);
}`];

const LINES = [`#version 300 es
uniform mat4 project; layout(location=0) in vec3 place;
void main() { gl_Position = project * vec4(place, 1); }`, `#version 300 es
precision highp float; uniform vec3 color; out vec4 shown;
void main() { shown = vec4(color, 1); }`];

const PHOTOS = [`#version 300 es
uniform mat4 project; layout(location=0) in vec3 place; layout(location=1) in vec2 corner;
out vec2 at;
void main() { gl_Position = project * vec4(place, 1); at = corner; }`, `#version 300 es
precision highp float; in vec2 at; uniform sampler2D photo; out vec4 shown;
void main() { shown = vec4(texture(photo, at).rgb, 1); }`];

// Eye-dome lighting: what lies behind its neighbors is darkened, so that edges show.
const SCREEN = [`#version 300 es
out vec2 at;
void main() {
  at = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0;
  gl_Position = vec4(at * 2.0 - 1.0, 0, 1);
}`, `#version 300 es
precision highp float; in vec2 at; out vec4 shown;
uniform sampler2D picture, deep; uniform vec2 texel; uniform float near, far; uniform vec3 ground;
float distanceAt(vec2 p) {
  float z = texture(deep, p).r;
  return z >= 1.0 ? far : 2.0 * near * far / (far + near - (2.0 * z - 1.0) * (far - near));
}
void main() {
  float here = log2(distanceAt(at)), shade = 0.0;
  for (int i = 0; i < 8; i++) {
    float a = float(i) * 0.785398;
    shade += max(0.0, here - log2(distanceAt(at + vec2(cos(a), sin(a)) * texel * 1.5)));
  }
  bool empty = texture(deep, at).r >= 1.0;
  shown = vec4(empty ? ground : texture(picture, at).rgb * exp(-shade * 2.0), 1);
}`];

function program([vertex, fragment]) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text); gl.compileShader(shader); gl.attachShader(made, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
  }
  gl.linkProgram(made);
  const places = new Map();
  const at = (name) => {
    if (!places.has(name)) places.set(name, gl.getUniformLocation(made, name));
    return places.get(name);
  };
  return { use: () => gl.useProgram(made), at };
}

const [points, lines, pictures, screen] = [POINTS, LINES, PHOTOS, SCREEN].map(program);

// ---- data -------------------------------------------------------------------------------

function bytes(id) {
  const text = atob($(id).textContent);
  const found = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
  return found;
}

function attribute(place, data, size, type, normalized) {
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(place);
  gl.vertexAttribPointer(place, size, type, normalized, 0, 0);
}

function arrays(...attributes) {
  const array = gl.createVertexArray();
  gl.bindVertexArray(array);
  attributes.forEach((a, place) => attribute(place, ...a));
  return array;
}

function frustum(camera, size) {
  const [tl, tr, br, bl] = camera.corners.map((c) => add(camera.center, c, size));
  const o = camera.center;
  const edges = [o, tl, o, tr, o, br, o, bl, tl, tr, tr, br, br, bl, bl, tl];
  const quad = [tl, tr, bl, br];
  return {
    ...camera,
    edges: arrays([Float32Array.from(edges.flat()), 3, gl.FLOAT, false]),
    quad: arrays([Float32Array.from(quad.flat()), 3, gl.FLOAT, false],
      [Float32Array.from([0, 0, 1, 0, 0, 1, 1, 1]), 2, gl.FLOAT, false]),
    photo: texture(camera.image),
  };
}

function texture(source) {
  const made = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, made);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array([128, 128, 128, 255]));
  const image = new Image();
  image.onload = () => {
    gl.bindTexture(gl.TEXTURE_2D, made);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
    gl.generateMipmap(gl.TEXTURE_2D);
    draw();
  };
  image.src = source;
  return made;
}

const models = scene.models.map((model, number) => ({
  ...model,
  points: arrays(
    [new Uint16Array(bytes(`places-${number}`).buffer), 3, gl.UNSIGNED_SHORT, true],
    [bytes(`colors-${number}`), 3, gl.UNSIGNED_BYTE, true],
    [bytes(`confidence-${number}`), 1, gl.UNSIGNED_BYTE, true],
  ),
  cameras: model.cameras.map((camera) => frustum(camera, scene.frustum)),
}));

// ---- drawing ----------------------------------------------------------------------------

const target = { frame: gl.createFramebuffer(), color: gl.createTexture(), depth: gl.createTexture() };
const blank = gl.createVertexArray();

function fit() {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((n) => Math.max(1, Math.round(n * ratio)));
  if (canvas.width === width && canvas.height === height && target.ready) return;
  Object.assign(canvas, { width, height });
  target.ready = true;
  gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
  const plane = (made, inside, format, type, place) => {
    gl.bindTexture(gl.TEXTURE_2D, made);
    gl.texImage2D(gl.TEXTURE_2D, 0, inside, width, height, 0, format, type, null);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, place, gl.TEXTURE_2D, made, 0);
  };
  plane(target.color, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, gl.COLOR_ATTACHMENT0);
  plane(target.depth, gl.DEPTH_COMPONENT24, gl.DEPTH_COMPONENT, gl.UNSIGNED_INT, gl.DEPTH_ATTACHMENT);
}

function css(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16) / 255);
}

function drawPoints(model, project) {
  points.use();
  gl.uniformMatrix4fv(points.at("project"), false, project);
  gl.uniform3fv(points.at("low"), model.low);
  gl.uniform3fv(points.at("extent"), model.extent);
  gl.uniform1f(points.at("least"), state.confidence / 100);
  gl.uniform1f(points.at("pixels"), (state.size * model.spacing * canvas.height) / (2 * Math.tan(eye.fov / 2)));
  gl.bindVertexArray(model.points);
  gl.drawArrays(gl.POINTS, 0, model.count);
}

function drawCameras(model, project) {
  for (const camera of model.cameras) {
    if (state.photos) {
      pictures.use();
      gl.uniformMatrix4fv(pictures.at("project"), false, project);
      gl.bindTexture(gl.TEXTURE_2D, camera.photo);
      gl.bindVertexArray(camera.quad);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
    lines.use();
    gl.uniformMatrix4fv(lines.at("project"), false, project);
    gl.uniform3fv(lines.at("color"), css("--accent"));
    gl.bindVertexArray(camera.edges);
    gl.drawArrays(gl.LINES, 0, 16);
  }
}

function drawScreen(near, far) {
  gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  gl.disable(gl.DEPTH_TEST);
  screen.use();
  [["picture", target.color], ["deep", target.depth]].forEach(([name, made], unit) => {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, made);
    gl.uniform1i(screen.at(name), unit);
  });
  gl.activeTexture(gl.TEXTURE0);
  gl.uniform2f(screen.at("texel"), 1 / canvas.width, 1 / canvas.height);
  gl.uniform1f(screen.at("near"), near);
  gl.uniform1f(screen.at("far"), far);
  gl.uniform3fv(screen.at("ground"), css("--ground"));
  gl.bindVertexArray(blank);
  gl.drawArrays(gl.TRIANGLES, 0, 3);
}

function paint() {
  fit();
  const reach = eye.distance + scene.radius * 4;
  const near = Math.max(reach * 1e-4, eye.distance * 0.01), far = reach * 4;
  const project = viewProjection(canvas.width / canvas.height, near, far);
  gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
  gl.viewport(0, 0, canvas.width, canvas.height);
  gl.enable(gl.DEPTH_TEST);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  const model = models[state.model];
  drawPoints(model, project);
  const standing = state.chosen >= 0; // in a camera, the others are in the way
  if (state.cameras && !standing) drawCameras(model, project);
  drawScreen(near, far);
}

let waiting = false;
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; paint(); });
}
