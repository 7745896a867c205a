// A GPU's block on the CPU, so that the kernels of crates/kernels run, as C++, without a card: every thread is a fibre of its own, a
// barrier or an instruction of a whole warp is a place where fibres wait for each other, and which of them goes on is drawn by lot.
// Asynchronous copies arrive when they are waited for and not before. So a missing barrier or wait shows as a wrong result under some
// seed. What it cannot show: speed, and the order of memory within a real chip.
//
// Layouts of fragments are those of the PTX instruction set's reference for mma.m16n8k16 and ldmatrix.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <type_traits>
#include <vector>

#define EMULATED
typedef uint32_t u32;
typedef uint16_t u16;
typedef unsigned long long u64;
#define KERNEL static void
#define DEVICE inline
#define SHARED(T, name, count) alignas(128) static T name[count]
#define BOUNDS(threads, blocks)
#define __device__
#define __shared__ static

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};

struct Fibre {
  ucontext_t context;
  std::vector<char> stack;
  Dim index;
  unsigned place = 0;             // number within the block
  bool done = false;
  unsigned blocks = 0, warps = 0;  // barriers it has reached
  struct Copy {
    void *to;
    char bytes[16];
  };
  std::vector<std::vector<Copy>> groups{1};
};

inline std::vector<Fibre> fibres;
inline Fibre *now = nullptr;
inline ucontext_t scheduler;
inline Dim blockIdx, gridDim, blockDim;
inline std::mt19937 lot{1};
#define threadIdx (now->index)

inline bool may_go_on(const Fibre &f) {
  if (f.done) return false;
  for (const Fibre &other : fibres) {
    if (!other.done && other.blocks < f.blocks) return false;
    if (!other.done && other.place / 32 == f.place / 32 && other.warps < f.warps) return false;
  }
  return true;
}
inline void yield() { swapcontext(&now->context, &scheduler); }
inline void __syncthreads() {
  ++now->blocks;
  yield();
}
// All threads of a warp that have not ended.
inline void meet() {
  ++now->warps;
  yield();
}

inline std::function<void()> *body_of_block = nullptr;
inline void begin() {
  (*body_of_block)();
  now->done = true;
  swapcontext(&now->context, &scheduler);
}

inline void run_block(std::function<void()> &body) {
  body_of_block = &body;
  unsigned count = blockDim.x * blockDim.y * blockDim.z;
  fibres.resize(count);
  for (unsigned i = 0; i < count; ++i) {
    Fibre &f = fibres[i];
    f.stack.resize(1 << 17);
    f.place = i;
    f.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
    f.done = false;
    f.blocks = f.warps = 0;
    f.groups.assign(1, {});
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.data();
    f.context.uc_stack.ss_size = f.stack.size();
    f.context.uc_link = nullptr;
    makecontext(&f.context, begin, 0);
  }
  std::vector<Fibre *> ready;
  for (;;) {
    ready.clear();
    for (Fibre &f : fibres)
      if (may_go_on(f)) ready.push_back(&f);
    if (ready.empty()) break;
    // A round in an order of its own; whoever cannot go on any more waits for the next.
    std::shuffle(ready.begin(), ready.end(), lot);
    for (Fibre *f : ready) {
      if (!may_go_on(*f)) continue;
      now = f;
      swapcontext(&scheduler, &f->context);
    }
  }
  for (Fibre &f : fibres)
    if (!f.done) {
      fprintf(stderr, "threads wait for each other for ever\n");
      exit(1);
    }
}

inline void launch(Dim grid, Dim block, std::function<void()> body) {
  gridDim = grid;
  blockDim = block;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        run_block(body);
      }
}

// What a warp's threads show each other.
struct Board {
  u32 words[32][8];
  float floats[32];
  const void *places[32];
};
inline Board boards[32];
inline Board &board() { return boards[now->place / 32]; }
inline int lane_of() { return now->place % 32; }

inline float from_half(u16 bits) {
  _Float16 h;
  memcpy(&h, &bits, 2);
  return (float)h;
}
inline u16 to_half(float v) {
  _Float16 h = (_Float16)v;
  u16 bits;
  memcpy(&bits, &h, 2);
  return bits;
}
inline float as_float(u32 bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
inline u32 as_bits(float v) {
  u32 bits;
  memcpy(&bits, &v, 4);
  return bits;
}
inline u32 __float_as_uint(float v) { return as_bits(v); }
inline float __uint_as_float(u32 v) { return as_float(v); }
inline float power2(float x) { return exp2f(x); }
inline float power(float x) { return expf(x); }
inline float __expf(float x) { return expf(x); }
inline float error_function(float x) { return erff(x); }
inline float inverse_root(float x) { return 1.0f / sqrtf(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

inline float across(float x, int mask) {
  board().floats[lane_of()] = x;
  meet();
  float y = board().floats[lane_of() ^ mask];
  meet();
  return y;
}
inline float __shfl_xor_sync(unsigned, float x, int mask) { return across(x, mask); }

inline void copy16(void *to, const void *from, bool there) {
  Fibre::Copy copy{to, {}};
  if (there) memcpy(copy.bytes, from, 16);
  now->groups.back().push_back(copy);
}
inline void commit() { now->groups.push_back({}); }
template <int N>
inline void wait() {
  // The last group is still open; N before it may be under way.
  auto &groups = now->groups;
  size_t due = groups.size() - 1 > (size_t)N ? groups.size() - 1 - N : 0;
  for (size_t g = 0; g < due; ++g) {
    for (auto &copy : groups[g]) memcpy(copy.to, copy.bytes, 16);
    groups[g].clear();
  }
}

inline void matrices(u32 *r, const void *p, bool transposed) {
  board().places[lane_of()] = p;
  meet();
  int lane = lane_of();
  for (int m = 0; m < 4; ++m) {
    auto at = [&](int row, int column) { return ((const u16 *)board().places[m * 8 + row])[column]; };
    int i = lane >> 2, j = (lane & 3) * 2;
    r[m] = transposed ? at(j, i) | (u32)at(j + 1, i) << 16 : at(i, j) | (u32)at(i, j + 1) << 16;
  }
  meet();
}
inline void load4(u32 *r, const void *p) { matrices(r, p, false); }
inline void load4_transposed(u32 *r, const void *p) { matrices(r, p, true); }

template <typename T>
inline float value_of(const T *, u32 word, int half);
struct Half;
struct Brain;
template <>
inline float value_of(const Half *, u32 word, int half) {
  return from_half((u16)(word >> (16 * half)));
}
template <>
inline float value_of(const Brain *, u32 word, int half) {
  return as_float((word >> (16 * half)) << 16);
}
template <typename T>
inline void multiply(const T *kind, float *c, const u32 *a, const u32 *b) {
  int lane = lane_of();
  for (int i = 0; i < 4; ++i) board().words[lane][i] = a[i];
  for (int i = 0; i < 2; ++i) board().words[lane][4 + i] = b[i];
  meet();
  auto A = [&](int row, int k) {
    return value_of(kind, board().words[(row & 7) * 4 + (k & 7) / 2][(row >> 3) + 2 * (k >> 3)], k & 1);
  };
  auto B = [&](int k, int n) { return value_of(kind, board().words[n * 4 + (k & 7) / 2][4 + (k >> 3)], k & 1); };
  for (int j = 0; j < 4; ++j) {
    int row = (lane >> 2) + 8 * (j >> 1), column = (lane & 3) * 2 + (j & 1);
    float sum = 0;
    for (int k = 0; k < 16; ++k) sum += A(row, k) * B(k, column);
    c[j] += sum;
  }
  meet();
}
inline u16 to_brain(float v);
inline u32 pair(const Half *, float lo, float hi) { return to_half(lo) | (u32)to_half(hi) << 16; }
inline u32 pair(const Brain *, float lo, float hi) { return to_brain(lo) | (u32)to_brain(hi) << 16; }
