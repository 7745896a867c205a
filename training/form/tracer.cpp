// Ray tracing of training shapes into pictures of their form: signed-distance programs and triangle meshes.
//
// One source for both machines: `g++ -O3 -fopenmp -shared -fPIC` for the CPU, `nvcc -x cu -shared` for a GPU, where the
// arrays are device memory. Camera frame everywhere: x right, y down as image rows, z towards the viewer. The camera stands at
// (0, 0, D); pixel (u, v) of -1..1 looks at (cx + u w, cy + v w, 0).
//
// Channels of a view (each res x res, float): 0-2 unit normal, 3-5 position, 6 ambient occlusion (1 = open), 7-10 visibility
// of the view's four lights (soft), 11 part, 12 hit (1 inside).
#include <cmath>
#include <cstdint>
#ifndef __CUDACC__
#include <algorithm>
#include <utility>
#include <vector>
#endif

#ifdef __CUDACC__
#define DEV __device__ inline
#else
#define DEV inline
#endif

namespace {

constexpr int OP = 48;       // floats of one operation
constexpr int GLOBAL = 40;   // floats of a shape's global record
constexpr int CHANNELS = 13;
constexpr float FAR = 1e9f;

struct V { float x, y, z; };
DEV V operator+(V a, V b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
DEV V operator-(V a, V b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
DEV V operator*(V a, float s) { return {a.x * s, a.y * s, a.z * s}; }
DEV float dot(V a, V b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
DEV V cross(V a, V b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
DEV float length(V a) { return sqrtf(dot(a, a)); }
DEV V unit(V a) { return a * (1.0f / fmaxf(length(a), 1e-12f)); }
DEV float clampf(float x, float a, float b) { return fminf(fmaxf(x, a), b); }
DEV float mixf(float a, float b, float t) { return a + (b - a) * t; }

DEV uint32_t hash(uint32_t x) {
    x ^= x >> 16; x *= 0x7feb352dU; x ^= x >> 15; x *= 0x846ca68bU; x ^= x >> 16;
    return x;
}
DEV float random01(uint32_t& s) { s = hash(s + 0x9e3779b9U); return (s >> 8) * (1.0f / 16777216.0f); }

// Value noise of -1..1 with quintic interpolation.
DEV float lattice(int x, int y, int z) {
    return (hash(hash(hash((uint32_t)x) + (uint32_t)y) + (uint32_t)z) >> 8) * (2.0f / 16777216.0f) - 1.0f;
}
DEV float noise(V p) {
    float fx = floorf(p.x), fy = floorf(p.y), fz = floorf(p.z);
    int x = (int)fx, y = (int)fy, z = (int)fz;
    float u = p.x - fx, v = p.y - fy, w = p.z - fz;
    u = u * u * u * (u * (u * 6 - 15) + 10); v = v * v * v * (v * (v * 6 - 15) + 10); w = w * w * w * (w * (w * 6 - 15) + 10);
    float a = mixf(mixf(lattice(x, y, z), lattice(x + 1, y, z), u), mixf(lattice(x, y + 1, z), lattice(x + 1, y + 1, z), u), v);
    float b = mixf(mixf(lattice(x, y, z + 1), lattice(x + 1, y, z + 1), u),
                   mixf(lattice(x, y + 1, z + 1), lattice(x + 1, y + 1, z + 1), u), v);
    return mixf(a, b, w);
}

// Distance to one primitive; p in its own frame, q its parameters.
DEV float primitive(int kind, V p, const float* q) {
    switch (kind) {
    case 0: {  // ellipsoid: half axes q0 q1 q2, q3 ribs of depth q4 around y
        float ribs = q[3] > 0 ? 1 + q[4] * (fabsf(cosf(0.5f * q[3] * atan2f(p.z, p.x))) - 0.6f) : 1.0f;
        float rx = q[0] * ribs, ry = q[1], rz = q[2] * ribs;
        float k0 = length({p.x / rx, p.y / ry, p.z / rz});
        float k1 = length({p.x / (rx * rx), p.y / (ry * ry), p.z / (rz * rz)});
        return k1 < 1e-6f ? -fminf(rx, fminf(ry, rz)) : k0 * (k0 - 1) / k1;
    }
    case 1: {  // box: half sides q0 q1 q2, edges rounded by q3; tapered towards -y by q4, sheared by q5
        float t = p.y / fmaxf(q[1], 1e-3f), s = 1 + q[4] * clampf(t, -1, 1);
        p.x = (p.x - q[5] * p.y) / s; p.z = p.z / s;
        V a = {fabsf(p.x) - q[0] + q[3], fabsf(p.y) - q[1] + q[3], fabsf(p.z) - q[2] + q[3]};
        V o = {fmaxf(a.x, 0), fmaxf(a.y, 0), fmaxf(a.z, 0)};
        return (length(o) + fminf(fmaxf(a.x, fmaxf(a.y, a.z)), 0) - q[3]) * fminf(s, 1.0f);
    }
    case 2: {  // round cone along y: radii q0 at 0, q1 at q2; bent by q3
        float h = q[2], r1 = q[0], r2 = q[1];
        float t = clampf(p.y / h, 0, 1);
        p.x -= q[3] * t * (1 - t) * 4;
        float l = sqrtf(p.x * p.x + p.z * p.z);
        float b = clampf((r1 - r2) / h, -0.95f, 0.95f), a = sqrtf(1 - b * b);
        float k = -b * l + a * p.y;
        if (k < 0) return sqrtf(l * l + p.y * p.y) - r1;
        if (k > a * h) return sqrtf(l * l + (p.y - h) * (p.y - h)) - r2;
        return l * a + p.y * b - r1;
    }
    case 3: {  // torus around y: q0 large, q1 small, stretched by q2 along x, flattened tube by q3
        p.x -= clampf(p.x, -q[2], q[2]);
        float a = sqrtf(p.x * p.x + p.z * p.z) - q[0];
        return sqrtf(a * a + p.y * p.y * q[3] * q[3]) / fmaxf(q[3], 1.0f) - q[1];
    }
    case 4: {  // cylinder along y: radius q0, half height q1, rounded q2; hollow with wall q3 when positive
        float r = sqrtf(p.x * p.x + p.z * p.z), y = fabsf(p.y);
        float d;
        if (q[3] > 0) d = fabsf(r - q[0] + q[3]) - q[3] + q[2]; else d = r - q[0] + q[2];
        float e = y - q[1] + q[2];
        float ox = fmaxf(d, 0), oy = fmaxf(e, 0);
        return fminf(fmaxf(d, e), 0) + sqrtf(ox * ox + oy * oy) - q[2];
    }
    case 5: {  // lathe around y: half height q0, wall q1 (0: solid), q2 cosine lobes of depth q3, radii q4..q15 from -y to +y
        float h = q[0], t = clampf((p.y + h) / (2 * h), 0, 1) * 11;
        int i = (int)fminf(t, 10.0f);
        float f = t - i;
        float r0 = q[4 + (i > 0 ? i - 1 : 0)], r1 = q[4 + i], r2 = q[5 + i], r3 = q[4 + (i < 10 ? i + 2 : 11)];
        float m1 = 0.5f * (r2 - r0), m2 = 0.5f * (r3 - r1);
        float f2 = f * f, f3 = f2 * f;
        float R = (2 * f3 - 3 * f2 + 1) * r1 + (f3 - 2 * f2 + f) * m1 + (-2 * f3 + 3 * f2) * r2 + (f3 - f2) * m2;
        float slope = ((6 * f2 - 6 * f) * r1 + (3 * f2 - 4 * f + 1) * m1 + (6 * f - 6 * f2) * r2 + (3 * f2 - 2 * f) * m2) * 11 / (2 * h);
        if (q[2] > 0) R *= 1 + q[3] * cosf(q[2] * atan2f(p.z, p.x));
        float r = sqrtf(p.x * p.x + p.z * p.z);
        float d = (r - R) / sqrtf(1 + slope * slope);
        float e = fabsf(p.y) - h;
        if (q[1] > 0) { d = fabsf(d + q[1]) - q[1]; float floor_ = fmaxf((r - R) * 0.7f, fmaxf(p.y - h, h - 3 * q[1] - p.y)); 
            float ox = fmaxf(d, 0), oy = fmaxf(e, 0);
            float wall = fminf(fmaxf(d, e), 0) + sqrtf(ox * ox + oy * oy);
            return fminf(wall, floor_); }
        float ox = fmaxf(d + 0.02f, 0), oy = fmaxf(e + 0.02f, 0);
        return fminf(fmaxf(d + 0.02f, e + 0.02f), 0) + sqrtf(ox * ox + oy * oy) - 0.02f;
    }
    case 6: {  // superellipsoid: half axes q0 q1 q2, exponent q3 (2 round, 6 boxy)
        float n = q[3];
        float s = powf(fabsf(p.x / q[0]) + 1e-6f, n) + powf(fabsf(p.y / q[1]) + 1e-6f, n) + powf(fabsf(p.z / q[2]) + 1e-6f, n);
        float l = powf(s, 1 / n);
        float m = fminf(q[0], fminf(q[1], q[2]));
        return (l - 1) * (l > 1 ? m * 0.75f : m * 0.75f);
    }
    case 7: {  // extruded star-like outline in xy: radius q0, half depth q1, bevel q2, waves (amplitude, count, phase) from q3
        float a = atan2f(p.y, p.x), r = sqrtf(p.x * p.x + p.y * p.y);
        float R = 1, slope = 0;
        for (int k = 0; k < 3; k++) {
            R += q[3 + 3 * k] * cosf(q[4 + 3 * k] * a + q[5 + 3 * k]);
            slope += fabsf(q[3 + 3 * k]) * q[4 + 3 * k];
        }
        float d = (r - q[0] * R) / sqrtf(1 + slope * slope) + q[2], e = fabsf(p.z) - q[1] + q[2];
        float ox = fmaxf(d, 0), oy = fmaxf(e, 0);
        return fminf(fmaxf(d, e), 0) + sqrtf(ox * ox + oy * oy) - q[2];
    }
    case 8: {  // sheet z = f(x, y), half sides q0 q1, half thickness q2, waves (amplitude, kx, ky, phase) from q3
        float f = 0, gx = 0, gy = 0;
        for (int k = 0; k < 3; k++) {
            const float* w = q + 3 + 4 * k;
            float s = w[1] * p.x + w[2] * p.y + w[3];
            s += 0.7f * sinf(0.37f * s + 1.7f * k + 0.6f * w[1] * p.y);
            f += w[0] * sinf(s);
            gx += fabsf(w[0] * w[1]); gy += fabsf(w[0] * w[2]);
        }
        float d = (fabsf(p.z - f) - q[2]) / sqrtf(1 + 0.5f * (gx * gx + gy * gy));
        float a = fmaxf(fabsf(p.x) - q[0], fabsf(p.y) - q[1]);
        return fmaxf(d, a);
    }
    default: {  // leaf or blade in xy: half length q0, half width q1, thickness q2, curl q3, keel q4
        float t = clampf(p.y / q[0], -1, 1);
        float wide = q[1] * (1 - t * t) * (1 - 0.35f * t);
        float z = p.z - q[3] * t * t - q[4] * fabsf(p.x);
        return fmaxf(fmaxf(fabsf(p.x) - wide, fabsf(p.y) - q[0]) * 0.5f, (fabsf(z) - q[2]) * 0.6f);
    }
    }
}

DEV V turned(const float* m, V p) {
    return {m[0] * p.x + m[1] * p.y + m[2] * p.z, m[3] * p.x + m[4] * p.y + m[5] * p.z, m[6] * p.x + m[7] * p.y + m[8] * p.z};
}

// Height of one layer of relief at p.
DEV float layer(const float* w, V p) {
    V k = {w[2], w[3], w[4]};
    float a = dot(k, p) + w[5];
    float warp = w[6] > 0 ? w[6] * noise(p * 2.3f + V{w[5], 7.1f, 3.3f}) : 0.0f;
    switch ((int)w[0]) {
    case 1: return w[1] * sinf(a + warp);
    case 2: return w[1] * (0.64f - fabsf(sinf(a + warp)));
    case 3: { float f = length(k); V o = {w[5], w[5] * 0.3f, 1.7f};
              return w[1] * (noise(p * f + o) + 0.5f * noise(p * (2.1f * f) + o) + 0.25f * noise(p * (4.3f * f) + o)); }
    case 4: { float f = length(k); float s = sinf(f * p.x + warp) * sinf(f * p.y + w[5]) * sinf(f * p.z); return w[1] * clampf(3 * s, -1, 1); }
    case 5: { float s = (a + warp) * 0.159155f; s = fabsf(s - floorf(s) - 0.5f) * 2; return w[1] * clampf((s - 0.9f) * 14, -1, 0.4f); }
    case 6: { float f = length(k); float n = noise(p * f + V{w[5], 0, 0}); return w[1] * (1 - 2 * fabsf(n)); }
    default: return 0;
    }
}

// Signed distance of the shape at p of the camera frame; its part is left in `part`.
DEV float field(const float* ops, int count, const float* g, V p, int* part) {
    p = turned(g + 1, p);
    V s = p;
    if (g[10] > 0) s.x = sqrtf(s.x * s.x + 1e-5f);                        // mirrored
    if (g[11] != 0) { float c = cosf(g[11] * s.y), n = sinf(g[11] * s.y); s = {c * s.x - n * s.z, s.y, n * s.x + c * s.z}; }
    if (g[12] != 0) s.x += g[12] * s.y * s.y;
    float d = FAR; int id = 0;
    for (int i = 0; i < count; i++) {
        const float* o = ops + i * OP;
        V q = turned(o + 7, s - V{o[4], o[5], o[6]});
        if (o[32] == 1) { float n = o[33], a = atan2f(q.z, q.x), step = 6.2831853f / n; a -= step * floorf(a / step + 0.5f);   // n times around y
            float r = sqrtf(q.x * q.x + q.z * q.z); q = {r * cosf(a) - o[34], q.y, r * sinf(a)}; }
        else if (o[32] == 2) { float n = o[33], c = o[34]; q.y -= c * clampf(floorf(q.y / c + 0.5f), -n, n); }                  // in a row along y
        else if (o[32] == 3) { q.x = fabsf(q.x) - o[33]; q.z = fabsf(q.z) - o[34]; }                                            // at four corners
        else if (o[32] == 4) { q.x = fabsf(q.x) - o[33]; }
        float e = primitive((int)o[0], q, o + 16);
        float k = o[2];
        switch ((int)o[1]) {
        case 0: { float h = k > 0 ? fmaxf(k - fabsf(d - e), 0) / k : 0; if (e < d) id = (int)o[3]; d = fminf(d, e) - h * h * k * 0.25f; break; }
        case 1: { float h = k > 0 ? fmaxf(k - fabsf(d + e), 0) / k : 0; if (-e > d && o[3] >= 0) id = (int)o[3]; d = fmaxf(d, -e) + h * h * k * 0.25f; break; }
        case 2: { float h = k > 0 ? fmaxf(k - fabsf(d - e), 0) / k : 0; d = fmaxf(d, e) + h * h * k * 0.25f; break; }
        case 3: { float v = clampf(1 - fabsf(e) / k, 0, 1); d += o[35] * v * v * (3 - 2 * v); if (v > 0.3f && o[3] >= 0) id = (int)o[3]; break; }  // a groove or weld along its skin
        default: { if (e < 0 && o[3] >= 0) id = (int)o[3]; float v = clampf(0.5f - e / k, 0, 1); d -= o[35] * v; break; }                            // raised or sunk inside it
        }
    }
    for (int k = 0; k < 3; k++) if (g[14 + 8 * k] > 0) { const float* w = g + 14 + 8 * k; if (w[7] < 0 || (int)w[7] == id) d -= layer(w, p); }
    if (part) *part = id;
    return d;
}

DEV bool ball(V o, V r, float radius, float* t0, float* t1) {
    float b = dot(o, r), c = dot(o, o) - radius * radius, h = b * b - c;
    if (h < 0) return false;
    h = sqrtf(h); *t0 = fmaxf(-b - h, 0); *t1 = -b + h;
    return *t1 > 0;
}

struct Camera { float D, cx, cy, w; };
DEV void ray(const Camera& c, int res, int x, int y, V* o, V* r) {
    float u = ((x + 0.5f) / res) * 2 - 1, v = ((y + 0.5f) / res) * 2 - 1;
    *o = {0, 0, c.D};
    *r = unit(V{c.cx + u * c.w, c.cy + v * c.w, -c.D});
}

DEV void sdf_pixel(int res, int x, int y, const float* ops, int count, const float* g, const float* cam, const float* lights, float* out, int quick) {
    Camera c = {cam[0], cam[1], cam[2], cam[3]};
    V o, r; ray(c, res, x, y, &o, &r);
    long long at = (long long)y * res + x, plane = (long long)res * res;
    for (int k = 0; k < CHANNELS; k++) out[k * plane + at] = 0;
    float t, end;
    if (!ball(o, r, 1.9f, &t, &end)) return;
    float step = g[0], tol = 0.0004f * c.w, before = t; bool hit = false;
    for (int i = 0; i < 160 && t < end; i++) {
        float d = field(ops, count, g, o + r * t, nullptr);
        if (d < tol) { hit = true; break; }
        before = t; t += fmaxf(d * step, tol);
    }
    if (!hit) return;
    float lo = before, hi = t;
    for (int i = 0; i < 4; i++) { float m = 0.5f * (lo + hi); if (field(ops, count, g, o + r * m, nullptr) < tol) hi = m; else lo = m; }
    t = hi;
    V p = o + r * t;
    out[12 * plane + at] = 1;
    if (quick) return;
    int part = 0;
    field(ops, count, g, p, &part);
    float e = fmaxf(0.6f * c.w / res, 0.0015f);
    V a = {1, -1, -1}, b = {-1, -1, 1}, cc = {-1, 1, -1}, dd = {1, 1, 1};
    V n = unit(a * field(ops, count, g, p + a * e, nullptr) + b * field(ops, count, g, p + b * e, nullptr) +
               cc * field(ops, count, g, p + cc * e, nullptr) + dd * field(ops, count, g, p + dd * e, nullptr));
    if (dot(n, r) > 0) n = n - r * (1.02f * dot(n, r));
    n = unit(n);
    float open = 0, weight = 0, scale = 1;
    for (int i = 1; i <= 6; i++) {
        float h = 0.012f * i * i + 0.01f;
        float d = field(ops, count, g, p + n * h, nullptr);
        open += scale * clampf(d / h, 0, 1); weight += scale; scale *= 0.8f;
    }
    out[at] = n.x; out[plane + at] = n.y; out[2 * plane + at] = n.z;
    out[3 * plane + at] = p.x; out[4 * plane + at] = p.y; out[5 * plane + at] = p.z;
    out[6 * plane + at] = open / weight;
    for (int k = 0; k < 4; k++) {
        V l = {lights[4 * k], lights[4 * k + 1], lights[4 * k + 2]};
        float seen = 1, soft = lights[4 * k + 3];
        if (dot(n, l) <= 0) seen = 0;
        V s = p + n * (4 * tol + 0.004f);
        float u = 0.01f;
        for (int i = 0; i < 40 && seen > 0 && u < 2.2f; i++) {
            float d = field(ops, count, g, s + l * u, nullptr);
            seen = fminf(seen, 0.5f + 0.5f * d * soft / u);
            u += clampf(d * step * 1.2f, 0.012f, 0.2f);
            if (seen < 0.01f) seen = 0;
        }
        out[(7 + k) * plane + at] = seen * seen * (3 - 2 * seen);
    }
    out[11 * plane + at] = (float)part;
}

// A node: bounds, then either the right child's index (left is the next node) or first triangle and count.
struct Node { float lo[3], hi[3]; int right, count; };

struct Mesh { const Node* nodes; const float* tris; };  // triangles: 3 corners, 3 normals, part: 19 floats

DEV bool box(const Node& n, V o, V inv, float far_) {
    float a = (n.lo[0] - o.x) * inv.x, b = (n.hi[0] - o.x) * inv.x;
    float t0 = fminf(a, b), t1 = fmaxf(a, b);
    a = (n.lo[1] - o.y) * inv.y; b = (n.hi[1] - o.y) * inv.y; t0 = fmaxf(t0, fminf(a, b)); t1 = fminf(t1, fmaxf(a, b));
    a = (n.lo[2] - o.z) * inv.z; b = (n.hi[2] - o.z) * inv.z; t0 = fmaxf(t0, fminf(a, b)); t1 = fminf(t1, fmaxf(a, b));
    return t1 >= fmaxf(t0, 0) && t0 < far_;
}

DEV int strike(const Mesh& m, V o, V r, float* far_, float* bu, float* bv, bool any) {
    V inv = {1 / (fabsf(r.x) > 1e-9f ? r.x : 1e-9f), 1 / (fabsf(r.y) > 1e-9f ? r.y : 1e-9f), 1 / (fabsf(r.z) > 1e-9f ? r.z : 1e-9f)};
    int stack[48], top = 0, found = -1, i = 0;
    while (true) {
        const Node& n = m.nodes[i];
        if (box(n, o, inv, *far_)) {
            if (n.count > 0) {
                for (int k = n.right; k < n.right + n.count; k++) {
                    const float* q = m.tris + 19 * (long long)k;
                    V a = {q[0], q[1], q[2]}, e1 = V{q[3], q[4], q[5]} - a, e2 = V{q[6], q[7], q[8]} - a;
                    V h = cross(r, e2);
                    float det = dot(e1, h);
                    if (fabsf(det) < 1e-14f) continue;
                    float f = 1 / det;
                    V s = o - a;
                    float u = f * dot(s, h);
                    if (u < -1e-5f || u > 1.00001f) continue;
                    V c = cross(s, e1);
                    float v = f * dot(r, c);
                    if (v < -1e-5f || u + v > 1.00002f) continue;
                    float t = f * dot(e2, c);
                    if (t > 1e-5f && t < *far_) { *far_ = t; *bu = u; *bv = v; found = k; if (any) return found; }
                }
                if (top == 0) break;
                i = stack[--top];
            } else {
                if (top < 47) stack[top++] = n.right;
                i = i + 1;
            }
        } else { if (top == 0) break; i = stack[--top]; }
    }
    return found;
}

DEV void mesh_pixel(int res, int x, int y, const Mesh& m, const float* turn, const float* cam, const float* lights, float* out, int quick, uint32_t seed) {
    Camera c = {cam[0], cam[1], cam[2], cam[3]};
    V o, r; ray(c, res, x, y, &o, &r);
    long long at = (long long)y * res + x, plane = (long long)res * res;
    for (int k = 0; k < CHANNELS; k++) out[k * plane + at] = 0;
    // `turn` brings the camera frame to the mesh's (a rotation or its mirror); its transpose brings back.
    V mo = turned(turn, o), mr = turned(turn, r);
    float t = FAR, u = 0, v = 0;
    int k = strike(m, mo, mr, &t, &u, &v, false);
    if (k < 0) return;
    out[12 * plane + at] = 1;
    if (quick) return;
    const float* q = m.tris + 19 * (long long)k;
    V n = unit(V{q[9], q[10], q[11]} * (1 - u - v) + V{q[12], q[13], q[14]} * u + V{q[15], q[16], q[17]} * v);
    V e1 = V{q[3], q[4], q[5]} - V{q[0], q[1], q[2]}, e2 = V{q[6], q[7], q[8]} - V{q[0], q[1], q[2]};
    V flat = unit(cross(e1, e2));
    if (dot(flat, mr) > 0) flat = flat * -1.0f;
    if (dot(n, flat) < 0) n = n * -1.0f;
    if (dot(n, mr) > -0.02f) n = unit(n - mr * (dot(n, mr) + 0.02f));
    V p = mo + mr * t, s = p + flat * 1e-3f;
    float back[9] = {turn[0], turn[3], turn[6], turn[1], turn[4], turn[7], turn[2], turn[5], turn[8]};
    V cn = turned(back, n), cp = turned(back, p);
    out[at] = cn.x; out[plane + at] = cn.y; out[2 * plane + at] = cn.z;
    out[3 * plane + at] = cp.x; out[4 * plane + at] = cp.y; out[5 * plane + at] = cp.z;
    uint32_t rnd = hash(seed * 747796405U + (uint32_t)at);
    V tx = unit(fabsf(n.x) > 0.7f ? cross(n, V{0, 1, 0}) : cross(n, V{1, 0, 0})), ty = cross(n, tx);
    float open = 0;
    const int AO = 12;
    for (int i = 0; i < AO; i++) {
        float a = (i + random01(rnd)) / AO, b = 6.2831853f * random01(rnd), z = sqrtf(1 - a), w = sqrtf(a);
        V d = unit(n * z + tx * (w * cosf(b)) + ty * (w * sinf(b)));
        float far_ = 1.2f, bu, bv;
        open += strike(m, s, d, &far_, &bu, &bv, false) < 0 ? 1.0f : clampf(far_ * 0.7f, 0, 1);
    }
    out[6 * plane + at] = open / AO;
    for (int j = 0; j < 4; j++) {
        V l = turned(turn, V{lights[4 * j], lights[4 * j + 1], lights[4 * j + 2]});
        float seen = 0;
        if (dot(n, l) > 0) {
            const int S = 3;
            for (int i = 0; i < S; i++) {
                float spread = 1.0f / lights[4 * j + 3];
                V d = unit(l + V{random01(rnd) - 0.5f, random01(rnd) - 0.5f, random01(rnd) - 0.5f} * (2 * spread));
                float far_ = 4, bu, bv;
                seen += strike(m, s, d, &far_, &bu, &bv, true) < 0 ? 1.0f / S : 0.0f;
            }
        }
        out[(7 + j) * plane + at] = seen;
    }
    out[11 * plane + at] = q[18];
}

#ifdef __CUDACC__
__global__ void sdf_kernel(int views, int res, int most, const float* ops, const int* counts, const float* g, const float* cam, const float* lights, float* out, int quick) {
    int x = blockIdx.x * 8 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y, v = blockIdx.z;
    if (x < res && y < res)
        sdf_pixel(res, x, y, ops + (long long)v * most * OP, counts[v], g + v * GLOBAL, cam + v * 4, lights + v * 16, out + (long long)v * CHANNELS * res * res, quick);
}
__global__ void mesh_kernel(int views, int res, const Node* nodes, const float* tris, const long long* first, const float* turns, const float* cam, const float* lights, float* out, int quick, uint32_t seed) {
    int x = blockIdx.x * 8 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y, v = blockIdx.z;
    if (x < res && y < res) {
        Mesh m = {nodes + first[2 * v], tris + 19 * first[2 * v + 1]};
        mesh_pixel(res, x, y, m, turns + 9 * v, cam + v * 4, lights + v * 16, out + (long long)v * CHANNELS * res * res, quick, seed + v);
    }
}
#endif

}  // namespace

extern "C" {

// Traces `views` shapes. ops: views x most x 48, counts: views, g: views x 40, cam: views x (D, cx, cy, w), lights: views x 4 x
// (direction to the light, hardness of its shadow), out: views x 13 x res x res. `quick`: the hit channel alone. 0, or an error.
int trace_sdf(int views, int res, int most, const float* ops, const int* counts, const float* g, const float* cam, const float* lights, float* out, int quick) {
#ifdef __CUDACC__
    dim3 grid((res + 7) / 8, (res + 7) / 8, views), block(8, 8);
    sdf_kernel<<<grid, block>>>(views, res, most, ops, counts, g, cam, lights, out, quick);
    return (int)cudaGetLastError();
#else
#pragma omp parallel for schedule(dynamic, 4) collapse(2)
    for (int v = 0; v < views; v++)
        for (int y = 0; y < res; y++)
            for (int x = 0; x < res; x++)
                sdf_pixel(res, x, y, ops + (long long)v * most * OP, counts[v], g + v * GLOBAL, cam + v * 4, lights + v * 16, out + (long long)v * CHANNELS * res * res, quick);
    return 0;
#endif
}

// The same for meshes: first: views x (first node, first triangle), turns: views x 9, from the camera frame to the mesh's.
int trace_mesh(int views, int res, const void* nodes, const float* tris, const long long* first, const float* turns, const float* cam, const float* lights, float* out, int quick, unsigned seed) {
#ifdef __CUDACC__
    dim3 grid((res + 7) / 8, (res + 7) / 8, views), block(8, 8);
    mesh_kernel<<<grid, block>>>(views, res, (const Node*)nodes, tris, first, turns, cam, lights, out, quick, seed);
    return (int)cudaGetLastError();
#else
#pragma omp parallel for schedule(dynamic, 4) collapse(2)
    for (int v = 0; v < views; v++)
        for (int y = 0; y < res; y++) {
            Mesh m = {(const Node*)nodes + first[2 * v], tris + 19 * first[2 * v + 1]};
            for (int x = 0; x < res; x++)
                mesh_pixel(res, x, y, m, turns + 9 * v, cam + v * 4, lights + v * 16, out + (long long)v * CHANNELS * res * res, quick, seed + v);
        }
    return 0;
#endif
}

#ifndef __CUDACC__
// Bounding volume hierarchy over `count` triangles (19 floats each, reordered in place); nodes: at least 2 * count. Returns their number.
int build(float* tris, int count, void* out) {
    Node* nodes = (Node*)out;
    struct T { float d[19]; };
    T* t = (T*)tris;
    struct Job { int first, last, parent; };
    std::vector<Job> jobs{{0, count, -1}};
    std::vector<std::pair<float, int>> keyed(count);
    std::vector<T> moved(count);
    int used = 0;
    while (!jobs.empty()) {
        Job j = jobs.back(); jobs.pop_back();
        int me = used++;
        if (j.parent >= 0) nodes[j.parent].right = me;
        Node& n = nodes[me];
        float lo[3] = {FAR, FAR, FAR}, hi[3] = {-FAR, -FAR, -FAR};
        for (int a = 0; a < 3; a++) { n.lo[a] = FAR; n.hi[a] = -FAR; }
        for (int i = j.first; i < j.last; i++)
            for (int a = 0; a < 3; a++) {
                float s = 0;
                for (int k = 0; k < 3; k++) { float v = t[i].d[3 * k + a]; n.lo[a] = std::min(n.lo[a], v); n.hi[a] = std::max(n.hi[a], v); s += v; }
                lo[a] = std::min(lo[a], s); hi[a] = std::max(hi[a], s);
            }
        if (j.last - j.first <= 4) { n.right = j.first; n.count = j.last - j.first; continue; }
        int axis = 0;
        for (int a = 1; a < 3; a++) if (hi[a] - lo[a] > hi[axis] - lo[axis]) axis = a;
        int mid = (j.first + j.last) / 2;
        // Keys are computed once: sums that the optimiser rounds differently from one comparison to the next are no order.
        for (int i = j.first; i < j.last; i++) keyed[i] = {t[i].d[axis] + t[i].d[3 + axis] + t[i].d[6 + axis], i};
        std::nth_element(keyed.begin() + j.first, keyed.begin() + mid, keyed.begin() + j.last);
        for (int i = j.first; i < j.last; i++) moved[i] = t[keyed[i].second];
        std::copy(moved.begin() + j.first, moved.begin() + j.last, t + j.first);
        n.count = 0;
        // Depth first, so that the left child is the next node: the right one waits below it.
        jobs.push_back({mid, j.last, me});
        jobs.push_back({j.first, mid, -1});
    }
    return used;
}
// Corner normals: of every corner the mean, by area and angle, of those faces around its vertex that turn away by less than the
// angle whose cosine is `sharp`. verts: v x 3, faces: f x 3 indices, parts: f; out: f x 19 floats as trace_mesh takes them.
void corners(int vertices, int count, const float* verts, const int* faces, const unsigned char* parts, float sharp, float* out) {
    std::vector<int> start(vertices + 1, 0), around(3 * (size_t)count);
    for (int i = 0; i < 3 * count; i++) start[faces[i] + 1]++;
    for (int i = 0; i < vertices; i++) start[i + 1] += start[i];
    std::vector<int> at(start.begin(), start.end() - 1);
    for (int i = 0; i < 3 * count; i++) around[at[faces[i]]++] = i / 3;
    std::vector<V> normal(count);
    std::vector<float> area(count);
    auto vertex = [&](int i) { return V{verts[3 * i], verts[3 * i + 1], verts[3 * i + 2]}; };
    for (int f = 0; f < count; f++) {
        V a = vertex(faces[3 * f]), n = cross(vertex(faces[3 * f + 1]) - a, vertex(faces[3 * f + 2]) - a);
        area[f] = length(n);
        normal[f] = unit(n);
    }
    for (int f = 0; f < count; f++) {
        float* o = out + 19 * (size_t)f;
        for (int k = 0; k < 3; k++) {
            int v = faces[3 * f + k];
            V p = vertex(v), n = normal[f] * area[f];
            for (int j = start[v]; j < start[v + 1]; j++)
                if (around[j] != f && dot(normal[around[j]], normal[f]) > sharp) n = n + normal[around[j]] * area[around[j]];
            n = unit(n);
            o[3 * k] = p.x; o[3 * k + 1] = p.y; o[3 * k + 2] = p.z;
            o[9 + 3 * k] = n.x; o[10 + 3 * k] = n.y; o[11 + 3 * k] = n.z;
        }
        o[18] = parts[f];
    }
}
#endif

}  // extern "C"
