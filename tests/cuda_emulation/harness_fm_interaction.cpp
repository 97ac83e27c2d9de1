#include "harness.h"

#include "fm_interaction/fm_kernels.h"

using namespace harness;
using debias::to_float;

namespace {

template <class T>
void check(int64_t batch, int64_t n_fields, int64_t d, double tolerance) {
  const auto fields = stored<T>(uniform(batch * n_fields * d, -1, 1, 1)), grad = stored<T>(uniform(batch, -1, 1, 2));
  std::vector<T> out(batch), to_fields(fields.size());
  const debias::FMArgs<T> args{fields.data(), batch, n_fields, d};
  debias::cuda::fm_interaction(args, out.data(), nullptr);
  debias::cuda::fm_interaction_backward(args, grad.data(), to_fields.data(), nullptr);
  const auto at = [&](int64_t b, int64_t f, int64_t i) { return (b * n_fields + f) * d + i; };
  for (int64_t b = 0; b < batch; ++b) {
    double sum = 0;
    for (int64_t f = 0; f < n_fields; ++f)
      for (int64_t i = 0; i < d; ++i) {
        double others = 0;
        for (int64_t g = 0; g < n_fields; ++g)
          if (g != f) others += static_cast<double>(to_float(fields[at(b, g, i)]));
        sum += 0.5 * others * static_cast<double>(to_float(fields[at(b, f, i)]));
        expect_close("gradient", static_cast<double>(to_float(to_fields[at(b, f, i)])),
                     others * static_cast<double>(to_float(grad[b])), tolerance);
      }
    expect_close("out", static_cast<double>(to_float(out[b])), sum, tolerance);
  }
}

}  // namespace

HARNESS_CASE(values_and_gradients_match_loops) {
  check<float>(37, 3, 9, 1e-5);
  check<double>(2, 4, 1, 1e-13);
  check<float>(1, 1, 3, 1e-6);
  check<float>(0, 3, 4, 1e-6);
}

HARNESS_CASE(half_types_are_summed_in_float32) {
  check<debias::Half>(5, 3, 8, 4e-3);
  check<debias::BFloat16>(5, 3, 8, 3e-2);
}
