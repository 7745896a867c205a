#include "emulator.h"
#include "half.cuh"
#include "pointwise.cu"
#include "check.h"

static double function(double v, int which) {
  switch (which) {
    case 1: return std::max(v, 0.0);
    case 2: return v / (1 + exp(-v));
    case 3: return 0.5 * v * (1 + erf(v / sqrt(2.0)));
    case 4: return v / (1 + exp(-1.702 * v));
    case 5: return 1 / (1 + exp(-v));
    default: return v;
  }
}
static Dim threads_for(size_t count) { return {(unsigned)(count + 255) / 256, 1, 1}; }

template <typename T, typename Rows, typename Planes>
void endings(Rows rows, Planes planes, unsigned n, unsigned images, unsigned pixels, unsigned channels, int which, int parts) {
  size_t count = (size_t)images * pixels * channels;
  auto y = noise<T>(count), old = y, bias = noise<T>(channels), embedding = noise<T>(images * channels), skip = noise<T>(count);
  const T *b = parts & 1 ? bias.data() : nullptr, *e = parts & 2 ? embedding.data() : nullptr, *s = parts & 4 ? skip.data() : nullptr;
  for (int first = 0; first < 2; ++first) {
    unsigned width = first ? pixels : channels;
    if (width % n) continue;
    y = old;
    launch(threads_for(count / n), {256, 1, 1}, [&] {
      if (first) planes(y.data(), b, e, s, count / n, pixels / n, channels, which);
      else rows(y.data(), b, e, s, count / n, channels / n, pixels * channels / n, which);
    });
    Worst worst;
    for (size_t i = 0; i < count; ++i) {
      size_t image = i / (pixels * channels), c = first ? i / pixels % channels : i % channels;
      double want = widened(old[i]) + (b ? widened(b[c]) : 0) + (e ? widened(e[image * channels + c]) : 0) + (s ? widened(s[i]) : 0);
      worst.see(widened(y[i]), function(want, which));
    }
    char what[80];
    snprintf(what, sizeof what, "%s %s by %u: %u %u %u, parts %d, function %d", first ? "planes" : "rows", type_name<T>, n, images, pixels, channels, parts, which);
    worst.judge(what, rounding<T>);
  }
}

template <typename T, typename Kernel>
void gates(Kernel kernel, unsigned n, unsigned rows, unsigned width, bool with_bias) {
  auto x = noise<T>(rows * 2 * width), bias = noise<T>(2 * width), y = noise<T>(rows * width);
  launch(threads_for(rows * width / n), {256, 1, 1}, [&] { kernel(x.data(), with_bias ? bias.data() : nullptr, y.data(), rows * width / n, width / n); });
  Worst worst;
  for (unsigned i = 0; i < rows * width; ++i) {
    unsigned r = i / width, c = i % width;
    auto at = [&](unsigned column) { return (double)widened(x[r * 2 * width + column]) + (with_bias ? widened(bias[column]) : 0); };
    worst.see(widened(y[i]), at(c) * function(at(width + c), 3));
  }
  char what[80];
  snprintf(what, sizeof what, "gates %s by %u: %u %u%s", type_name<T>, n, rows, width, with_bias ? " with bias" : "");
  worst.judge(what, rounding<T>);
}

template <typename T, typename Kernel>
void wide(Kernel kernel, unsigned images, unsigned size) {
  const unsigned n = Lanes<T>::count;
  auto x = noise<T>(images * size), y = x;
  auto feature = noise<float>(size);
  launch(threads_for(images * size / n), {256, 1, 1}, [&] { kernel(x.data(), feature.data(), y.data(), images * size / n, size / n); });
  Worst worst;
  for (unsigned i = 0; i < images * size; ++i) worst.see(widened(y[i]), (double)widened(x[i]) + feature[i % size]);
  worst.judge(type_name<T>, rounding<T>);
}

template <typename T, typename Kernel>
void pixels(Kernel kernel) {
  auto x = noise<T>(1000, 0.8f);
  std::vector<unsigned char> y(1000);
  launch(threads_for(1000), {256, 1, 1}, [&] { kernel(x.data(), y.data(), 1000); });
  Worst worst;
  for (int i = 0; i < 1000; ++i) {
    float v = std::min(std::max(widened(x[i]) * 0.5f + 0.5f, 0.0f), 1.0f);
    worst.see(y[i], (unsigned char)(255.0f * v));
  }
  worst.judge("bytes", 0);
}

int main() {
  for (int parts = 0; parts < 8; ++parts) {
    endings<Half>(finish_f16, finish_planes_f16, 8, 2, 24, 40, parts % 6, parts);
    endings<Brain>(finish_bf16, finish_planes_bf16, 8, 2, 24, 40, parts % 6, parts);
    endings<float>(finish_f32, finish_planes_f32, 4, 2, 12, 20, parts % 6, parts);
    endings<Half>(finish_one_f16, finish_planes_one_f16, 1, 3, 7, 5, parts % 6, parts);
    endings<Brain>(finish_one_bf16, finish_planes_one_bf16, 1, 3, 7, 5, parts % 6, parts);
    endings<float>(finish_one_f32, finish_planes_one_f32, 1, 3, 7, 5, parts % 6, parts);
  }
  for (bool bias : {false, true}) {
    gates<Half>(gate_f16, 8, 37, 48, bias);
    gates<Brain>(gate_bf16, 8, 37, 48, bias);
    gates<float>(gate_f32, 4, 37, 12, bias);
    gates<Half>(gate_one_f16, 1, 5, 7, bias);
    gates<Brain>(gate_one_bf16, 1, 5, 7, bias);
    gates<float>(gate_one_f32, 1, 5, 7, bias);
  }
  wide<Half>(add_wide_f16, 2, 120);
  wide<Brain>(add_wide_bf16, 2, 120);
  wide<float>(add_wide_f32, 2, 120);
  pixels<Half>(bytes_f16);
  pixels<Brain>(bytes_bf16);
  pixels<float>(bytes_f32);
  for (auto [h, w, oh, ow] : {std::tuple{3, 4, 6, 8}, {5, 7, 11, 13}, {6, 6, 4, 3}}) {
    std::vector<Pack> x(2 * h * w * 3), y(2 * oh * ow * 3);
    for (size_t i = 0; i < x.size(); ++i) x[i].words[0] = i;
    launch(threads_for(y.size()), {256, 1, 1}, [&, h = h, w = w, oh = oh, ow = ow] { nearest_rows(x.data(), y.data(), 3, h, w, oh, ow, y.size()); });
    Worst worst;
    for (int b = 0; b < 2; ++b)
      for (int i = 0; i < oh; ++i)
        for (int j = 0; j < ow; ++j)
          for (int c = 0; c < 3; ++c) worst.see(y[((b * oh + i) * ow + j) * 3 + c].words[0], ((b * h + i * h / oh) * w + j * w / ow) * 3 + c);
    worst.judge("nearest", 0);
  }
  return failures != 0;
}
