// Noise and comparison for the emulated kernels.
#pragma once
inline std::mt19937 stream{7};
template <typename T>
std::vector<T> noise(size_t count, float size = 1.0f, float middle = 0.0f) {
  std::normal_distribution<float> normal;
  std::vector<T> values(count);
  for (T &v : values) store(&v, middle + size * normal(stream));
  return values;
}
inline int failures = 0;
struct Worst {
  double error = 0, largest = 0;
  void see(double got, double want) {
    double apart = std::isfinite(got) ? std::fabs(got - want) : INFINITY;
    error = std::max(error, apart);
    largest = std::max(largest, std::fabs(want));
  }
  // `bound` is a share of the largest value.
  void judge(const char *what, double bound) {
    bool good = error <= bound * largest;
    printf("%-58s %.1e of %.2f%s\n", what, error, largest, good ? "" : "  WRONG");
    failures += !good;
  }
};
template <typename T>
constexpr double rounding = sizeof(T) == 4 ? 2e-6 : std::is_same_v<T, Half> ? 1e-3 : 8e-3;
template <typename T>
constexpr const char *type_name = sizeof(T) == 4 ? "f32" : std::is_same_v<T, Half> ? "f16" : "bf16";
