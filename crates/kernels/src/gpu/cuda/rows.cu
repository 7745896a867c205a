// Normalisations of rows, whose channels come last: layer norm of tokens, group norm of pictures. Half precision, statistics in f32.
// Follows half.cuh.
//
// Variances are never E[x²] - E[x]²: layer norm sums squares about the mean; group norm's threads sum differences from a first value of
// their own, and parts are merged by Chan's formula (Chan, Golub and LeVeque 1979).

#ifndef EMULATED
DEVICE float across(float x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
DEVICE float inverse_root(float v) { return rsqrtf(v); }
DEVICE float power(float v) { return __expf(v); }
#endif

#define LAYER_PACKS 8

// A warp a row of `width`, a multiple of 8 and at most 8 · 32 · LAYER_PACKS.
template <typename T>
DEVICE void layer(const T *x, const float *weight, const float *bias, T *y, int rows, int width, float eps) {
  int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= rows) return;
  x += (u64)row * width;
  y += (u64)row * width;
  float v[LAYER_PACKS][8], sum = 0.0f;
#pragma unroll
  for (int p = 0; p < LAYER_PACKS; ++p) {
    int column = (p * 32 + lane) * 8;
    if (column < width) {
      load(x + column, v[p]);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum += v[p][i];
    }
  }
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) sum += across(sum, mask);
  float mean = sum / width, square = 0.0f;
#pragma unroll
  for (int p = 0; p < LAYER_PACKS; ++p) {
    if ((p * 32 + lane) * 8 < width) {
#pragma unroll
      for (int i = 0; i < 8; ++i) square += (v[p][i] - mean) * (v[p][i] - mean);
    }
  }
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) square += across(square, mask);
  float scale = inverse_root(square / width + eps);
#pragma unroll
  for (int p = 0; p < LAYER_PACKS; ++p) {
    int column = (p * 32 + lane) * 8;
    if (column < width) {
      float w[8], b[8];
      load(weight + column, w);
      load(weight + column + 4, w + 4);
      load(bias + column, b);
      load(bias + column + 4, b + 4);
#pragma unroll
      for (int i = 0; i < 8; ++i) v[p][i] = (v[p][i] - mean) * scale * w[i] + b[i];
      save(y + column, v[p]);
    }
  }
}

struct Part {
  float count, mean, square;  // square: sum of squared differences from the mean
};

DEVICE Part merged(Part a, Part b) {
  float count = a.count + b.count;
  if (count == 0.0f) return a;
  float apart = b.mean - a.mean, share = b.count / count;
  return {count, a.mean + apart * share, a.square + b.square + apart * apart * a.count * share};
}

// Grid (chunks of pixels, images, packs of channels / 32), threads (32, 8): parts[image][chunk][channel] of `chunk` pixels.
template <typename T>
DEVICE void measure(const T *x, Part *parts, int pixels, int channels, int chunk) {
  SHARED(Part, shared, 8 * 32);
  int pack = blockIdx.z * 32 + threadIdx.x, column = pack * 8;
  bool there = column < channels;
  int first = blockIdx.x * chunk, last = first + chunk < pixels ? first + chunk : pixels;
  const T *image = x + (u64)blockIdx.y * pixels * channels + column;
  float shift[8], sum[8], square[8], count = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) shift[i] = sum[i] = square[i] = 0.0f;
  first += threadIdx.y;
  if (!there) last = first;
  if (first < last) load(image + (u64)first * channels, shift);
#pragma unroll 4
  for (int pixel = first; pixel < last; pixel += 8) {
    float v[8];
    load(image + (u64)pixel * channels, v);
    count += 1.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float apart = v[i] - shift[i];
      sum[i] += apart;
      square[i] += apart * apart;
    }
  }
  Part *to = parts + ((u64)blockIdx.y * gridDim.x + blockIdx.x) * channels + column;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float mean = count > 0.0f ? sum[i] / count : 0.0f;
    shared[threadIdx.y * 32 + threadIdx.x] = {count, shift[i] + mean, fmaxf(square[i] - sum[i] * mean, 0.0f)};
    __syncthreads();
    if (threadIdx.y == 0 && there) {
      Part all = shared[threadIdx.x];
      for (int y = 1; y < 8; ++y) all = merged(all, shared[y * 32 + threadIdx.x]);
      to[i] = all;
    }
    __syncthreads();
  }
}

// Grid (groups, images), 128 threads: for each channel the mean and the factor, weight / √(variance + eps).
KERNEL settle(const Part *parts, const float *weight, float *table, int channels, int groups, int chunks, float eps) {
  SHARED(Part, shared, 4);
  int size = channels / groups, first = blockIdx.x * size;
  const Part *from = parts + (u64)blockIdx.y * chunks * channels + first;
  Part part = {0.0f, 0.0f, 0.0f};
  for (int at = threadIdx.x; at < size * chunks; at += 128) part = merged(part, from[(u64)(at / size) * channels + at % size]);
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    Part other = {across(part.count, mask), across(part.mean, mask), across(part.square, mask)};
    // The lower lane's part comes first on both sides, so that they agree to the bit.
    part = threadIdx.x & mask ? merged(other, part) : merged(part, other);
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = part;
  __syncthreads();
  Part all = merged(merged(shared[0], shared[1]), merged(shared[2], shared[3]));
  float scale = inverse_root(all.square / all.count + eps);
  for (int at = threadIdx.x; at < size; at += 128) {
    float *to = table + ((u64)blockIdx.y * channels + first + at) * 2;
    to[0] = all.mean;
    to[1] = scale * weight[first + at];
  }
}

// One pack a thread: (x - mean) · factor + bias, then SiLU if asked for. Counts in packs: all, of a row, of an image.
template <typename T>
DEVICE void apply(const T *x, const float *table, const float *bias, T *y, u32 count, u32 packs, u32 image, int silu) {
  u32 pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= count) return;
  u32 column = pack % packs * 8;
  u64 at = (u64)pack * 8;
  const float *row = table + ((u64)(pack / image) * packs * 8 + column) * 2;
  float v[8], b[8], t[16];
  load(x + at, v);
  load(bias + column, b);
  load(bias + column + 4, b + 4);
#pragma unroll
  for (int i = 0; i < 4; ++i) load(row + 4 * i, t + 4 * i);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    v[i] = (v[i] - t[2 * i]) * t[2 * i + 1] + b[i];
    if (silu) v[i] = v[i] / (1.0f + power(-v[i]));
  }
  save(y + at, v);
}

#define FORMS(NAME, T)                                                                                                      \
  KERNEL layer_##NAME(const T *x, const float *weight, const float *bias, T *y, int rows, int width, float eps) {           \
    layer(x, weight, bias, y, rows, width, eps);                                                                            \
  }                                                                                                                         \
  KERNEL measure_rows_##NAME(const T *x, Part *parts, int pixels, int channels, int chunk) {                                \
    measure(x, parts, pixels, channels, chunk);                                                                             \
  }                                                                                                                         \
  KERNEL apply_rows_##NAME(const T *x, const float *table, const float *bias, T *y, u32 count, u32 packs, u32 image,        \
                           int silu) {                                                                                      \
    apply(x, table, bias, y, count, packs, image, silu);                                                                    \
  }
FORMS(f16, Half)
FORMS(bf16, Brain)
