// The formulas of csrc/pointwise_loss/{exposure,relmf}_math.h against extended precision: a line per quantity with the
// largest relative error, in units of the last place of 1.
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include "pointwise_loss/exposure_math.h"
#include "pointwise_loss/relmf_math.h"

using debias::Row;
using Wide = long double;

namespace {

// The terms of a quantity, of either sign: what a sum loses is counted on the scale of its terms.
struct Terms {
  Wide sum = 0, size = 0;
  Terms(std::initializer_list<Wide> terms) {
    for (Wide term : terms) sum += term, size += std::fabs(term);
  }
};

struct Expected {
  Terms value, score, source, mixed, click;
};

struct Logistic {
  Wide p, q, log_p, log_q;  // sigmoid(s), 1 - sigmoid(s), and their logarithms
};

Logistic logistic(Wide s) {
  const Wide e = std::exp(-std::fabs(s)), large = 1 / (1 + e), small = e / (1 + e), part = std::log1p(e);
  if (s > 0) return {large, small, -part, -s - part};
  return {small, large, s - part, -part};
}

// x, 1 - x, log x, and the slope of x in the source
Expected exposure(Wide s, Wide click, Wide x, Wide unexposed, Wide log_x, Wide slope) {
  const Logistic l = logistic(s);
  const Wide joint = x * l.p, left = unexposed + x * l.q, rest = 1 - click;
  const Wide none = joint < 0.5L ? -std::log1p(-joint) : -std::log(left), with = -l.log_p - log_x;
  return {{click > 0 ? click * with : 0, rest > 0 ? rest * none : 0},
          {-click * l.q, rest * joint * l.q / left},
          {click > 0 ? -slope * click / x : 0, slope * rest * l.p / left},
          {slope * rest * l.p * l.q / (left * left)},
          {-l.log_p, -log_x, -none}};
}

Expected relmf_square(Wide s, Wide click, Wide x) {
  const Logistic l = logistic(s);
  const Wide w = click / x, rest = (x - click) / x, slope = 2 * l.p * l.q;
  return {{w * l.q * l.q, rest * l.p * l.p},
          {slope * rest * l.p, -slope * w * l.q},
          {l.p * w / x, -l.q * w / x},
          {slope * w / x},
          {l.q / x, -l.p / x}};
}

Expected relmf_log(Wide s, Wide click, Wide x) {
  const Logistic l = logistic(s);
  const Wide w = click / x, rest = (x - click) / x;
  return {{-w * l.log_p, -rest * l.log_q}, {rest * l.p, -w * l.q}, {s * w / x}, {w / x}, {-s / x}};
}

template <class T>
class Errors {
 public:
  void add(const Row<T>& got, const Expected& wanted) {
    const Wide values[5] = {got.value, got.score, got.source, got.mixed, got.click};
    const Terms exact[5] = {wanted.value, wanted.score, wanted.source, wanted.mixed, wanted.click};
    for (int k = 0; k < 5; ++k) {
      const Wide size = std::fmax(exact[k].size,
                                  std::numeric_limits<T>::min() / static_cast<Wide>(std::numeric_limits<T>::epsilon()));
      const Wide error = std::fabs(values[k] - exact[k].sum) / size / std::numeric_limits<T>::epsilon();
      if (!(error <= worst_[k])) worst_[k] = error;
    }
  }
  void print(const std::string& name) const {
    const char* quantities[] = {"value", "score", "source", "mixed", "click"};
    for (int k = 0; k < 5; ++k)
      std::printf("%s %s %s %.3Lf\n", sizeof(T) == 4 ? "float32" : "float64", name.c_str(), quantities[k], worst_[k]);
  }

 private:
  Wide worst_[5] = {};
};

template <class T>
std::vector<T> scores() {
  std::vector<T> values{T(0)};
  for (double s = -60; s <= 60; s += 0.37) values.push_back(static_cast<T>(s));
  for (double k = -20; k < 6; k += 0.5)
    for (double sign : {-1.0, 1.0}) values.push_back(static_cast<T>(sign * std::fmin(60, std::pow(2, k))));
  return values;
}

template <class T>
std::vector<T> exposures() {
  std::vector<T> values{T(0), T(1), T(1) - std::numeric_limits<T>::epsilon(), T(0.99999)};
  for (double x = 0.013; x < 1; x += 0.013) values.push_back(static_cast<T>(x));
  for (int k = -93; k < 0; ++k) values.push_back(static_cast<T>(std::pow(2, k)));
  return values;
}

// The binary form leaves out the slope in the click.
template <class T>
void binary_rows(Errors<T>& errors, const Row<T>& got, T click, Expected wanted) {
  if (!debias::is_binary(click)) return;
  wanted.click = {0};
  errors.add(got, wanted);
}

template <class T>
void run() {
  Errors<T> given, given_binary, logit, logit_binary, square, log;
  for (T s : scores<T>()) {
    for (T click : {T(0), T(1), T(0.25), T(0.9375)}) {
      for (T x : exposures<T>()) {
        if (x == T(0) && click > T(0)) continue;
        Expected wanted = exposure(s, click, x, 1 - static_cast<Wide>(x), std::log(static_cast<Wide>(x)), 1);
        if (x == T(0)) wanted.click = {-logistic(s).log_p};
        given.add(debias::GivenExposure::at(s, click, x), wanted);
        binary_rows(given_binary, debias::GivenExposure::at_binary(s, click, x), click, wanted);
        if (x < T(1e-6)) continue;
        square.add(debias::RelmfSquare::at(s, click, x), relmf_square(s, click, x));
        log.add(debias::RelmfLog::at(s, click, x), relmf_log(s, click, x));
      }
      for (T t : scores<T>()) {
        const Logistic l = logistic(t);
        const Expected wanted = exposure(s, click, l.p, l.q, l.log_p, l.p * l.q);
        logit.add(debias::ExposureLogit::at(s, click, t), wanted);
        binary_rows(logit_binary, debias::ExposureLogit::at_binary(s, click, t), click, wanted);
      }
    }
  }
  given_binary.print("exposure-binary");
  given.print("exposure");
  logit_binary.print("logit-binary");
  logit.print("logit");
  square.print("relmf-square");
  log.print("relmf-log");
}

}  // namespace

int main() {
  run<float>();
  run<double>();
}
