// Attention for heads of 64 channels in half precision, sums and softmax in f32: FlashAttention 2's loop (Dao 2023), in which scores
// never leave registers. From Ampere on. Follows half.cuh.
//
// One block takes 64·TILES queries of one head, four warps of 16·TILES rows; keys and values come in tiles of 64, double buffered.
// q, k, v and o are rows of any stride with a head's 64 values side by side, so nothing is transposed before or after.
#ifndef EMULATED
DEVICE u32 place(const void *p) { return (u32)__cvta_generic_to_shared(p); }
// 16 bytes to shared memory, zeros where there is nothing; done after `wait`.
DEVICE void copy16(void *to, const void *from, bool there) {
  int bytes = there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place(to)), "l"(from), "r"(bytes));
}
DEVICE void commit() { asm volatile("cp.async.commit_group;"); }
// All groups but the last `N` are there.
template <int N>
DEVICE void wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N));
}
DEVICE void load4(u32 *r, const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(place(p)));
}
DEVICE void load4_transposed(u32 *r, const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(place(p)));
}
// c += a · b for tiles of 16 × 16 and 16 × 8.
DEVICE void multiply(const Half *, float *c, const u32 *a, const u32 *b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEVICE void multiply(const Brain *, float *c, const u32 *a, const u32 *b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEVICE u32 pair(const Half *, float lo, float hi) {
  u32 r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}
DEVICE u32 pair(const Brain *, float lo, float hi) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}
DEVICE float power2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEVICE float across(float x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
#endif

#define WIDTH 64
#define THREADS 128
// Blocks of 64 queries to fit into a multiprocessor: as many as its shared memory holds, where registers suffice without spills.
#if !defined(EMULATED) && (__CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200)
#define SMALL_BLOCKS 2
#else
#define SMALL_BLOCKS 4
#endif

// Place of a row's 16-byte chunk: chunks are permuted within a row, so that eight rows of one column lie in eight banks.
template <typename T>
DEVICE T *cell(T *tile, int row, int chunk) {
  return tile + row * WIDTH + ((chunk ^ (row & 7)) << 3);
}

// 64 rows from `first` on, of which `count` exist; the others become zeros.
template <typename T>
DEVICE void fetch(T *tile, const T *rows, u64 stride, int first, int count) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    int at = threadIdx.x + i * THREADS, row = at >> 3, chunk = at & 7;
    bool there = first + row < count;
    copy16(cell(tile, row, chunk), rows + (there ? (u64)(first + row) * stride : 0) + chunk * 8, there);
  }
}

// Grid (tiles of queries, heads, images). Strides in values from row to row and from image to image; `scale` multiplies the scores,
// `weight` the result, which is added to `o` if `add`.
template <typename T, int TILES>
DEVICE void attend(const T *q, const T *k, const T *v, T *o, int queries, int keys, u64 q_row, u64 k_row, u64 v_row, u64 o_row,
                   u64 q_image, u64 k_image, u64 v_image, u64 o_image, u64 q_head, u64 k_head, u64 v_head, u64 o_head,
                   float scale, float weight, int add) {
  SHARED(T, qs, 64 * WIDTH * TILES);
  SHARED(T, ks, 2 * 64 * WIDTH);
  SHARED(T, vs, 2 * 64 * WIDTH);
  const T *kind = nullptr;
  int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, first = blockIdx.x * 64 * TILES;
  q += blockIdx.z * q_image + blockIdx.y * q_head;
  k += blockIdx.z * k_image + blockIdx.y * k_head;
  v += blockIdx.z * v_image + blockIdx.y * v_head;
  o += blockIdx.z * o_image + blockIdx.y * o_head;
#pragma unroll
  for (int t = 0; t < TILES; ++t) fetch(qs + t * 64 * WIDTH, q, q_row, first + t * 64, queries);
  fetch(ks, k, k_row, 0, keys);
  commit();
  fetch(vs, v, v_row, 0, keys);
  commit();

  u32 qa[TILES][4][4];
  float sums[TILES][8][4], top[TILES][2], total[TILES][2];
#pragma unroll
  for (int t = 0; t < TILES; ++t) {
    top[t][0] = top[t][1] = -1e30f;
    total[t][0] = total[t][1] = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[t][i][j] = 0.0f;
  }
  int tiles = (keys + 63) / 64;
  scale *= 1.4426950408889634f;  // 1/ln 2: powers of two are what the hardware takes
  for (int tile = 0; tile < tiles; ++tile) {
    T *kt = ks + (tile & 1) * 64 * WIDTH, *vt = vs + (tile & 1) * 64 * WIDTH;
    wait<1>();
    __syncthreads();  // this tile's keys are there (its values may not be), and nobody reads the other buffers
    if (tile == 0) {
#pragma unroll
      for (int t = 0; t < TILES; ++t)
#pragma unroll
        for (int s = 0; s < 4; ++s) load4(qa[t][s], cell(qs, (warp * TILES + t) * 16 + (lane & 15), 2 * s + (lane >> 4)));
    }
    if (tile + 1 < tiles) fetch(ks + ((tile + 1) & 1) * 64 * WIDTH, k, k_row, (tile + 1) * 64, keys);
    commit();
    float s[TILES][8][4];
#pragma unroll
    for (int t = 0; t < TILES; ++t)
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int j = 0; j < 4; ++j) s[t][n][j] = 0.0f;
#pragma unroll
    for (int step = 0; step < 4; ++step)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        u32 b[4];
        load4(b, cell(kt, n * 16 + (lane & 7) + ((lane >> 4) << 3), 2 * step + ((lane >> 3) & 1)));
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
          multiply(kind, s[t][2 * n], qa[t][step], b);
          multiply(kind, s[t][2 * n + 1], qa[t][step], b + 2);
        }
      }
    int left = keys - tile * 64;
#pragma unroll
    for (int t = 0; t < TILES; ++t) {
      if (left < 64) {
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int j = 0; j < 4; ++j)
            if (n * 8 + (lane & 3) * 2 + (j & 1) >= left) s[t][n][j] = -1e30f;
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float now = -1e30f;
#pragma unroll
        for (int n = 0; n < 8; ++n) now = fmaxf(now, fmaxf(s[t][n][2 * r], s[t][n][2 * r + 1]));
        now = fmaxf(now, across(now, 1));
        now = fmaxf(fmaxf(now, across(now, 2)) * scale, top[t][r]);
        float shrink = power2(top[t][r] - now);
        top[t][r] = now;
        total[t][r] *= shrink;
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          sums[t][n][2 * r] *= shrink;
          sums[t][n][2 * r + 1] *= shrink;
        }
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int j = 2 * r; j < 2 * r + 2; ++j) {
            s[t][n][j] = power2(s[t][n][j] * scale - now);
            total[t][r] += s[t][n][j];
          }
      }
    }
    wait<1>();
    __syncthreads();  // this tile's values are there
    if (tile + 1 < tiles) fetch(vs + ((tile + 1) & 1) * 64 * WIDTH, v, v_row, (tile + 1) * 64, keys);
    commit();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      u32 a[TILES][4];
#pragma unroll
      for (int t = 0; t < TILES; ++t) {
        float(*p)[4] = s[t] + 2 * step;
        a[t][0] = pair(kind, p[0][0], p[0][1]);
        a[t][1] = pair(kind, p[0][2], p[0][3]);
        a[t][2] = pair(kind, p[1][0], p[1][1]);
        a[t][3] = pair(kind, p[1][2], p[1][3]);
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        u32 b[4];
        load4_transposed(b, cell(vt, step * 16 + (lane & 7) + (((lane >> 3) & 1) << 3), 2 * n + (lane >> 4)));
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
          multiply(kind, sums[t][2 * n], a[t], b);
          multiply(kind, sums[t][2 * n + 1], a[t], b + 2);
        }
      }
    }
  }
#pragma unroll
  for (int t = 0; t < TILES; ++t)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float whole = total[t][r];
      whole += across(whole, 1);
      whole += across(whole, 2);
      int row = first + (warp * TILES + t) * 16 + (lane >> 2) + 8 * r;
      if (row >= queries) continue;
      float share = weight / whole;
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        u32 *to = (u32 *)(o + (u64)row * o_row + n * 8 + (lane & 3) * 2);
        float x[2] = {sums[t][n][2 * r] * share, sums[t][n][2 * r + 1] * share};
        if (add) {
          float old[2];
          unpack(kind, *to, old);
          x[0] += old[0];
          x[1] += old[1];
        }
        *to = pair(kind, x[0], x[1]);
      }
    }
}

#define ATTEND(NAME, T, TILES, BLOCKS)                                                                                             \
  KERNEL BOUNDS(THREADS, BLOCKS) NAME(const T *q, const T *k, const T *v, T *o, int queries, int keys, u64 q_row, u64 k_row,        \
                              u64 v_row, u64 o_row, u64 q_image, u64 k_image, u64 v_image, u64 o_image, u64 q_head,         \
                              u64 k_head, u64 v_head, u64 o_head, float scale, float weight, int add) {                     \
    attend<T, TILES>(q, k, v, o, queries, keys, q_row, k_row, v_row, o_row, q_image, k_image, v_image, o_image, q_head,     \
                     k_head, v_head, o_head, scale, weight, add);                                                           \
  }
ATTEND(attend_64_f16, Half, 1, SMALL_BLOCKS)
ATTEND(attend_64_bf16, Brain, 1, SMALL_BLOCKS)
ATTEND(attend_128_f16, Half, 2, 2)
ATTEND(attend_128_bf16, Brain, 2, 2)
