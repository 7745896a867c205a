#include "emulator.h"
#include "half.cuh"
#include "rows.cu"
#include "check.h"

template <typename T, typename Kernel>
void layers(Kernel kernel, int rows, int width) {
  auto x = noise<T>(rows * width, 1.0f, 3.0f), y = x;
  auto weight = noise<float>(width), bias = noise<float>(width);
  launch({(unsigned)(rows + 3) / 4, 1, 1}, {128, 1, 1}, [&] { kernel(x.data(), weight.data(), bias.data(), y.data(), rows, width, 1e-5f); });
  Worst worst;
  for (int r = 0; r < rows; ++r) {
    double mean = 0, square = 0;
    for (int c = 0; c < width; ++c) mean += widened(x[r * width + c]);
    mean /= width;
    for (int c = 0; c < width; ++c) square += pow(widened(x[r * width + c]) - mean, 2);
    for (int c = 0; c < width; ++c)
      worst.see(widened(y[r * width + c]), (widened(x[r * width + c]) - mean) / sqrt(square / width + 1e-5) * weight[c] + bias[c]);
  }
  char what[80];
  snprintf(what, sizeof what, "layer norm %s: %d %d", type_name<T>, rows, width);
  worst.judge(what, rounding<T>);
}

template <typename T, typename Measure, typename Apply>
void groups(Measure measure, Apply apply, int images, int pixels, int channels, int groups, int chunk, bool silu) {
  // A large mean: E[x²] - E[x]² would lose the variance.
  auto x = noise<T>((size_t)images * pixels * channels, 1.0f, 20.0f), y = x;
  auto weight = noise<float>(channels), bias = noise<float>(channels);
  int chunks = (pixels + chunk - 1) / chunk;
  std::vector<Part> parts((size_t)images * chunks * channels);
  std::vector<float> table((size_t)images * channels * 2);
  launch({(unsigned)chunks, (unsigned)images, (unsigned)(channels / 8 + 31) / 32}, {32, 8, 1}, [&] { measure(x.data(), parts.data(), pixels, channels, chunk); });
  launch({(unsigned)groups, (unsigned)images, 1}, {128, 1, 1}, [&] { settle(parts.data(), weight.data(), table.data(), channels, groups, chunks, 1e-5f); });
  unsigned count = images * pixels * channels / 8;
  launch({(count + 255) / 256, 1, 1}, {256, 1, 1}, [&] { apply(x.data(), table.data(), bias.data(), y.data(), count, channels / 8, pixels * channels / 8, silu); });
  Worst worst;
  int size = channels / groups;
  for (int b = 0; b < images; ++b)
    for (int g = 0; g < groups; ++g) {
      auto at = [&](int p, int c) { return ((size_t)b * pixels + p) * channels + g * size + c; };
      double mean = 0, square = 0, n = (double)pixels * size;
      for (int p = 0; p < pixels; ++p) for (int c = 0; c < size; ++c) mean += widened(x[at(p, c)]) / n;
      for (int p = 0; p < pixels; ++p) for (int c = 0; c < size; ++c) square += pow(widened(x[at(p, c)]) - mean, 2) / n;
      for (int p = 0; p < pixels; ++p)
        for (int c = 0; c < size; ++c) {
          double v = (widened(x[at(p, c)]) - mean) / sqrt(square + 1e-5) * weight[g * size + c] + bias[g * size + c];
          worst.see(widened(y[at(p, c)]), silu ? v / (1 + exp(-v)) : v);
        }
    }
  char what[80];
  snprintf(what, sizeof what, "group norm %s: %d %d %d in %d%s", type_name<T>, images, pixels, channels, groups, silu ? " SiLU" : "");
  worst.judge(what, rounding<T>);
}

int main() {
  for (unsigned seed = 0; seed < 2; ++seed) {
    lot.seed(seed);
    for (auto [rows, width] : {std::pair{7, 8}, {5, 640}, {3, 1280}, {2, 2048}, {6, 24}}) {
      layers<Half>(layer_f16, rows, width);
      layers<Brain>(layer_bf16, rows, width);
    }
    for (auto [b, p, c, g, chunk, silu] : {std::tuple{2, 35, 320, 32, 64, true}, {1, 130, 64, 32, 64, false}, {1, 3, 264, 4, 64, true}, {2, 200, 40, 8, 100, false}}) {
      groups<Half>(measure_rows_f16, apply_rows_f16, b, p, c, g, chunk, silu);
      groups<Brain>(measure_rows_bf16, apply_rows_bf16, b, p, c, g, chunk, silu);
    }
  }
  return failures != 0;
}
