// What every kernel file begins with: half precision without CUDA's headers, which NVRTC need not find. `Half` is f16, `Brain` bf16;
// a `Pack` is what one thread moves at once, 16 bytes. Under EMULATED the same file compiles as C++ for the CPU.
#ifndef EMULATED
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;
#define KERNEL extern "C" __global__ void
#define DEVICE __device__ inline
#define SHARED(T, name, count) __shared__ __align__(128) T name[count]
#define BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#endif

struct Half {
  u16 bits;
};
struct Brain {
  u16 bits;
};
struct alignas(16) Pack {
  u32 words[4];
};

#ifndef EMULATED
DEVICE float from_half(u16 bits) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(bits));
  return f;
}
DEVICE u16 to_half(float v) {
  u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}
DEVICE float as_float(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 as_bits(float v) { return __float_as_uint(v); }
#endif

DEVICE u16 to_brain(float v) {
  u32 bits = as_bits(v);
  bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return nan ? 0x7fffu : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

DEVICE float widened(float v) { return v; }
DEVICE float widened(Half v) { return from_half(v.bits); }
DEVICE float widened(Brain v) { return as_float((u32)v.bits << 16); }
DEVICE void store(float *to, float v) { *to = v; }
DEVICE void store(Half *to, float v) { to->bits = to_half(v); }
DEVICE void store(Brain *to, float v) { to->bits = to_brain(v); }

// The values of a pack: eight halves or four floats.
template <typename T>
struct Lanes {
  static const int count = 16 / sizeof(T);
};

DEVICE void unpack(const Half *, u32 word, float *v) {
  v[0] = from_half((u16)word);
  v[1] = from_half((u16)(word >> 16));
}
DEVICE void unpack(const Brain *, u32 word, float *v) {
  v[0] = as_float(word << 16);
  v[1] = as_float(word & 0xffff0000u);
}
DEVICE u32 packed(const Half *, const float *v) { return to_half(v[0]) | (u32)to_half(v[1]) << 16; }
DEVICE u32 packed(const Brain *, const float *v) {
#if !defined(EMULATED) && __CUDA_ARCH__ >= 800
  u32 word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(v[1]), "f"(v[0]));
  return word;
#else
  return to_brain(v[0]) | (u32)to_brain(v[1]) << 16;
#endif
}

// From and to an address that is a multiple of 16 bytes.
template <typename T>
DEVICE void load(const T *from, float *v) {
  Pack pack = *(const Pack *)from;
#pragma unroll
  for (int i = 0; i < 4; ++i) unpack(from, pack.words[i], v + 2 * i);
}
DEVICE void load(const float *from, float *v) {
  Pack pack = *(const Pack *)from;
#pragma unroll
  for (int i = 0; i < 4; ++i) v[i] = as_float(pack.words[i]);
}
template <typename T>
DEVICE void save(T *to, const float *v) {
  Pack pack;
#pragma unroll
  for (int i = 0; i < 4; ++i) pack.words[i] = packed(to, v + 2 * i);
  *(Pack *)to = pack;
}
DEVICE void save(float *to, const float *v) {
  Pack pack;
#pragma unroll
  for (int i = 0; i < 4; ++i) pack.words[i] = as_bits(v[i]);
  *(Pack *)to = pack;
}
