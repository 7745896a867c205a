// Group normalisation of pictures whose channels come first, in two passes over memory, with sums in f32. Follows half.cuh.
//
// Variances are never taken as E[x²] - E[x]²: each thread sums differences from its own first value, and parts are merged by
// Chan's formula (Chan, Golub and LeVeque 1979), so that large means cost no digits.

struct Part {
  float count, mean, square;  // square: sum of squared differences from the mean
};

__device__ inline Part merged(Part a, Part b) {
  float count = a.count + b.count;
  if (count == 0.0f) return a;
  float apart = b.mean - a.mean, share = b.count / count;
  return {count, a.mean + apart * share, a.square + b.square + apart * apart * a.count * share};
}

// All threads of a block of at most 1024, a multiple of 32: their parts merged, the same answer for each.
__device__ Part merged_block(Part part) {
  __shared__ Part warps[32];
  for (int apart = 16; apart > 0; apart /= 2) {
    Part other = {__shfl_xor_sync(~0u, part.count, apart), __shfl_xor_sync(~0u, part.mean, apart),
                  __shfl_xor_sync(~0u, part.square, apart)};
    // The lower lane's part comes first on both sides, so that they agree to the bit.
    part = threadIdx.x & apart ? merged(other, part) : merged(part, other);
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = part;
  __syncthreads();
  Part all = warps[0];
  for (int warp = 1; warp < blockDim.x / 32; ++warp) all = merged(all, warps[warp]);
  return all;
}

// Grid (chunks, groups of all images): parts[group][chunk] of `size` neighbouring values.
template <typename T>
__device__ void measure(const T *x, Part *parts, unsigned long long size) {
  const T *group = x + blockIdx.y * size;
  unsigned long long at = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x;
  unsigned long long stride = gridDim.x * (unsigned long long)blockDim.x;
  float first = at < size ? widened(group[at]) : 0.0f, count = 0.0f, sum = 0.0f, square = 0.0f;
  for (; at < size; at += stride) {
    float v = widened(group[at]) - first;
    count += 1.0f;
    sum += v;
    square += v * v;
  }
  float shift = count > 0.0f ? sum / count : 0.0f;
  Part all = merged_block({count, first + shift, fmaxf(square - sum * shift, 0.0f)});
  if (threadIdx.x == 0) parts[blockIdx.y * gridDim.x + blockIdx.x] = all;
}

// Grid (chunks, channels of all images): (x - mean) / √(variance + eps) · weight + bias, then SiLU if asked for.
template <typename T>
__device__ void apply(const T *x, const Part *parts, const float *weight, const float *bias, T *y, unsigned long long plane,
                      int channels, int groups, int chunks, float eps, int silu) {
  int channel = blockIdx.y % channels, group = blockIdx.y / (channels / groups);
  Part all = {0.0f, 0.0f, 0.0f};
  if (threadIdx.x < chunks) all = parts[group * chunks + threadIdx.x];
  all = merged_block(all);
  float scale = rsqrtf(all.square / all.count + eps) * weight[channel];
  unsigned long long start = blockIdx.y * plane;
  for (unsigned long long at = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; at < plane;
       at += gridDim.x * (unsigned long long)blockDim.x) {
    float v = (widened(x[start + at]) - all.mean) * scale + bias[channel];
    store(y + start + at, silu ? v / (1.0f + __expf(-v)) : v);
  }
}

#define FORMS(NAME, T)                                                                                                   \
  extern "C" __global__ void measure_##NAME(const T *x, Part *parts, unsigned long long size) { measure(x, parts, size); } \
  extern "C" __global__ void apply_##NAME(const T *x, const Part *parts, const float *weight, const float *bias, T *y,      \
                                          unsigned long long plane, int channels, int groups, int chunks, float eps,      \
                                          int silu) {                                                                    \
    apply(x, parts, weight, bias, y, plane, channels, groups, chunks, eps, silu);                                        \
  }
FORMS(f32, float)
FORMS(f16, Half)
FORMS(bf16, Brain)
