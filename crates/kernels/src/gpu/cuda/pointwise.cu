// What follows a product or a convolution, 16 bytes a thread: bias, embedding, skip and activation in place; GEGLU; a wide feature map;
// nearest neighbours; 8-bit pixels. Sums are taken in f32 and rounded once. Follows half.cuh.
//
// Tensors here are rows of `width` values side by side: tokens, or the pixels of a picture whose channels come last. Kernels named
// `_one` take any width, one value a thread; the others widths that are multiples of a pack. Counts, widths and sizes of images are in
// packs (in values for `_one`), below 2³², so that divisions have 32 bits.

#ifndef EMULATED
DEVICE float power(float v) { return __expf(v); }
DEVICE float error_function(float v) { return erff(v); }
#endif

DEVICE u32 index_of_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }

// As numbered in pointwise.rs.
DEVICE float activated(float v, int activation) {
  switch (activation) {
    case 1: return fmaxf(v, 0.0f);
    case 2: return v / (1.0f + power(-v));
    case 3: return 0.5f * v * (1.0f + error_function(v * 0.70710678118654752f));
    case 4: return v / (1.0f + power(-1.702f * v));
    case 5: return 1.0f / (1.0f + power(-v));
    default: return v;
  }
}

template <typename T, int N>
DEVICE void load_some(const T *from, float *v) {
  if constexpr (N == 1) v[0] = widened(*from);
  else load(from, v);
}
template <typename T, int N>
DEVICE void save_some(T *to, const float *v) {
  if constexpr (N == 1) store(to, v[0]);
  else save(to, v);
}

// y = activation(y + bias[column] + embedding[image][column] + skip); any of the three may be absent.
template <typename T, int N>
DEVICE void finish(T *y, const T *bias, const T *embedding, const T *skip, u32 count, u32 width, u32 image, int activation) {
  u32 pack = index_of_thread();
  if (pack >= count) return;
  u32 column = pack % width * N;
  u64 at = (u64)pack * N;
  float v[N], more[N];
  load_some<T, N>(y + at, v);
  if (bias) {
    load_some<T, N>(bias + column, more);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] += more[i];
  }
  if (embedding) {
    load_some<T, N>(embedding + pack / image * width * N + column, more);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] += more[i];
  }
  if (skip) {
    load_some<T, N>(skip + at, more);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] += more[i];
  }
  if (activation) {
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = activated(v[i], activation);
  }
  save_some<T, N>(y + at, v);
}

// The same where channels come first: `width` is a plane of one channel, its bias and embedding one value.
template <typename T, int N>
DEVICE void finish_planes(T *y, const T *bias, const T *embedding, const T *skip, u32 count, u32 width, u32 channels,
                          int activation) {
  u32 pack = index_of_thread();
  if (pack >= count) return;
  u32 plane = pack / width;
  u64 at = (u64)pack * N;
  float add = 0.0f, v[N], more[N];
  if (bias) add += widened(bias[plane % channels]);
  if (embedding) add += widened(embedding[plane]);
  load_some<T, N>(y + at, v);
#pragma unroll
  for (int i = 0; i < N; ++i) v[i] += add;
  if (skip) {
    load_some<T, N>(skip + at, more);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] += more[i];
  }
  if (activation) {
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = activated(v[i], activation);
  }
  save_some<T, N>(y + at, v);
}

// Rows of 2·width, values before gates, to rows of width: (value + bias) · gelu(gate + bias).
template <typename T, int N>
DEVICE void gate(const T *x, const T *bias, T *y, u32 count, u32 packs) {
  u32 pack = index_of_thread();
  if (pack >= count) return;
  u32 row = pack / packs, width = packs * N, column = (pack - row * packs) * N;
  u64 at = (u64)pack * N;
  const T *from = x + (u64)row * 2 * width + column;
  float v[N], g[N], more[N];
  load_some<T, N>(from, v);
  load_some<T, N>(from + width, g);
  if (bias) {
    load_some<T, N>(bias + column, more);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] += more[i];
    load_some<T, N>(bias + width + column, more);
#pragma unroll
    for (int i = 0; i < N; ++i) g[i] += more[i];
  }
#pragma unroll
  for (int i = 0; i < N; ++i) v[i] *= activated(g[i], 3);
  save_some<T, N>(y + at, v);
}

// y = x + feature, the feature map in f32 and the same for every image.
template <typename T>
DEVICE void add_wide(const T *x, const float *feature, T *y, u32 count, u32 image) {
  const int N = Lanes<T>::count;
  u32 pack = index_of_thread();
  if (pack >= count) return;
  u64 at = (u64)pack * N;
  float v[N], more[N];
  load(x + at, v);
#pragma unroll
  for (int i = 0; i < N; i += 4) load(feature + (u64)(pack % image) * N + i, more + i);
#pragma unroll
  for (int i = 0; i < N; ++i) v[i] += more[i];
  save(y + at, v);
}

// Pixels of `packs` packs to other sizes: the source of row i is i · height / out_height.
KERNEL nearest_rows(const Pack *x, Pack *y, u32 packs, u32 height, u32 width, u32 out_height, u32 out_width, u32 count) {
  u32 at = index_of_thread();
  if (at >= count) return;
  u32 pack = at % packs, pixel = at / packs, column = pixel % out_width, row = pixel / out_width;
  u32 image = row / out_height, from_row = row % out_height * height / out_height, from_column = column * width / out_width;
  y[at] = x[((u64)(image * height + from_row) * width + from_column) * packs + pack];
}

// Rows of pixels from -1 to 1, channels last, to bytes: (v + 1) / 2 clamped, times 255, fractions dropped.
template <typename T>
DEVICE void bytes(const T *x, unsigned char *y, u32 count) {
  u32 at = index_of_thread();
  if (at >= count) return;
  float v = fminf(fmaxf(widened(x[at]) * 0.5f + 0.5f, 0.0f), 1.0f);
  y[at] = (unsigned char)(255.0f * v);
}

#define FORMS(NAME, T)                                                                                                        \
  KERNEL finish_##NAME(T *y, const T *bias, const T *embedding, const T *skip, u32 count, u32 width, u32 image,              \
                       int activation) {                                                                                      \
    finish<T, Lanes<T>::count>(y, bias, embedding, skip, count, width, image, activation);                                    \
  }                                                                                                                           \
  KERNEL finish_one_##NAME(T *y, const T *bias, const T *embedding, const T *skip, u32 count, u32 width, u32 image,          \
                           int activation) {                                                                                  \
    finish<T, 1>(y, bias, embedding, skip, count, width, image, activation);                                                  \
  }                                                                                                                           \
  KERNEL finish_planes_##NAME(T *y, const T *bias, const T *embedding, const T *skip, u32 count, u32 width, u32 channels,    \
                              int activation) {                                                                               \
    finish_planes<T, Lanes<T>::count>(y, bias, embedding, skip, count, width, channels, activation);                          \
  }                                                                                                                           \
  KERNEL finish_planes_one_##NAME(T *y, const T *bias, const T *embedding, const T *skip, u32 count, u32 width,              \
                                  u32 channels, int activation) {                                                             \
    finish_planes<T, 1>(y, bias, embedding, skip, count, width, channels, activation);                                        \
  }                                                                                                                           \
  KERNEL gate_##NAME(const T *x, const T *bias, T *y, u32 count, u32 width) {                                                 \
    gate<T, Lanes<T>::count>(x, bias, y, count, width);                                                                       \
  }                                                                                                                           \
  KERNEL gate_one_##NAME(const T *x, const T *bias, T *y, u32 count, u32 width) { gate<T, 1>(x, bias, y, count, width); }     \
  KERNEL add_wide_##NAME(const T *x, const float *feature, T *y, u32 count, u32 image) {                                      \
    add_wide(x, feature, y, count, image);                                                                                    \
  }                                                                                                                           \
  KERNEL bytes_##NAME(const T *x, unsigned char *y, u32 count) { bytes(x, y, count); }
FORMS(f32, float)
FORMS(f16, Half)
FORMS(bf16, Brain)
