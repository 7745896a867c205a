#include "emulator.h"
#include "half.cuh"
#include "attention.cu"
#include "check.h"

template <typename T, typename Kernel>
void check(Kernel kernel, int tile, int images, int heads, int queries, int keys, bool add) {
  int width = heads * 64, q_row = 3 * width, k_row = 2 * width + 8, v_row = 2 * width;
  auto q = noise<T>((size_t)images * queries * q_row, 2.0f), k = noise<T>((size_t)images * keys * k_row);
  auto v = noise<T>((size_t)images * keys * v_row), o = noise<T>((size_t)images * queries * width), old = o;
  float scale = 0.25f, weight = add ? 0.7f : 1.0f;
  launch({(unsigned)(queries + tile - 1) / tile, (unsigned)heads, (unsigned)images}, {128, 1, 1}, [&] {
    kernel(q.data(), k.data(), v.data(), o.data(), queries, keys, q_row, k_row, v_row, width, (u64)queries * q_row,
           (u64)keys * k_row, (u64)keys * v_row, (u64)queries * width, 64, 64, 64, 64, scale, weight, add);
  });
  Worst worst;
  for (int b = 0; b < images; ++b)
    for (int h = 0; h < heads; ++h)
      for (int i = 0; i < queries; ++i) {
        std::vector<double> share(keys);
        double top = -1e300, sum = 0;
        for (int j = 0; j < keys; ++j) {
          double s = 0;
          for (int d = 0; d < 64; ++d)
            s += (double)widened(q[(size_t)(b * queries + i) * q_row + h * 64 + d]) * widened(k[(size_t)(b * keys + j) * k_row + h * 64 + d]);
          share[j] = s * scale;
          top = std::max(top, share[j]);
        }
        for (double &s : share) sum += s = exp(s - top);
        for (int d = 0; d < 64; ++d) {
          double y = 0;
          for (int j = 0; j < keys; ++j) y += share[j] / sum * widened(v[(size_t)(b * keys + j) * v_row + h * 64 + d]);
          size_t at = (size_t)(b * queries + i) * width + h * 64 + d;
          y = weight * y + (add ? widened(old[at]) : 0.0f);
          worst.see(widened(o[at]), y);
        }
      }
  char what[80];
  snprintf(what, sizeof what, "attention %s by %d: %d %d %d %d%s", type_name<T>, tile, images, heads, queries, keys, add ? " added" : "");
  worst.judge(what, rounding<T>);
}

int main() {
  for (unsigned seed = 0; seed < 2; ++seed) {
    lot.seed(seed);
    for (auto [b, h, n, m, add] : {std::tuple{1, 1, 64, 64, false}, {2, 2, 100, 77, false}, {1, 2, 70, 130, true}, {1, 1, 16, 16, true}, {1, 1, 5, 200, false}, {1, 1, 129, 65, false}}) {
      check<Half>(attend_64_f16, 64, b, h, n, m, add);
      check<Half>(attend_128_f16, 128, b, h, n, m, add);
      if (seed == 0) check<Brain>(attend_64_bf16, 64, b, h, n, m, add);
      if (seed == 0) check<Brain>(attend_128_bf16, 128, b, h, n, m, add);
    }
  }
  return failures != 0;
}
