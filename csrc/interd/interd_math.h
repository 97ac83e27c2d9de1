// InterD: the target between a biased and a debiased teacher, and the squared distance to it. Written once for the CPU
// and CUDA kernels of the row loss and of the block loss.
#pragma once

#include "common/math.h"

namespace debias {

// soft: w_b = sigmoid(gamma (log(Lb + e) - log(Ld + e)));  hard: the limit of large |gamma|, 1/2 on ties;
// attached: soft, and the slope also runs through the coefficients, which see the score itself.
enum class InterDTargetKind { soft, hard, attached };

// `value`   (s - r*)^2, r* = w_b rb + w_d rd
// `slope`   d value / d s: 2 (s - r*), times 1 - dr*/ds where attached
// `valid`   whether omega is finite and not negative
template <class T>
struct InterDRow {
  T value, slope;
  int valid;
};

template <class T>
struct InterDCoefficients {
  T biased, debiased;  // w_b + w_d = 1, each with all its digits
};

// -1/2, 0 or 1/2; keeps NaN
template <class T>
DEBIAS_HD T half_sign(T x) {
  const T side = (x > T(0) ? T(0.5) : T(0)) - (x < T(0) ? T(0.5) : T(0));
  return x == x ? side : x;
}

template <InterDTargetKind kind, class T>
DEBIAS_HD InterDCoefficients<T> interd_coefficients(T biased_loss, T debiased_loss, T gamma, T epsilon) {
  if constexpr (kind == InterDTargetKind::hard) {
    const T side = T(2) * half_sign(gamma) * half_sign(biased_loss - debiased_loss);
    return {T(0.5) + side, T(0.5) - side};
  } else {  // w_b = 1 / (1 + odds), odds = ((Lb + e) / (Ld + e))^-gamma
    // Not a constant for the compiler, which would split the loop's body by it, at the price of a fifth of the speed.
    const T largest = T(MathConstants<T>::exponent_bias - 1) + (gamma - gamma);
    T log_odds = -gamma * log2_ratio(biased_loss + epsilon, debiased_loss + epsilon);
    log_odds = largest < log_odds ? largest : log_odds;
    log_odds = log_odds < -largest ? -largest : log_odds;
    const T odds = exp2_normal(log_odds);
    const T biased = T(1) / (T(1) + odds);
    return {biased, odds * biased};
  }
}

// s: the student's score; rb, rd: the teachers'; known: what the teachers' errors are measured against: the rating, the
// score s where it is missing, or 0; omega: the weight of the debiased teacher's error, 1 without one.
// Lb = (rb - known)^2, Ld = omega (rd - known)^2. The residual is w_b (s - rb) + w_d (s - rd), which keeps the digits
// that s - r* would lose. attached: dr*/ds = (rb - rd) w_b w_d gamma 2 ((s - rb) / (Lb + e) - omega (s - rd) / (Ld +
// e)), up to |gamma| / sqrt(e) where s comes near a teacher.
template <InterDTargetKind kind, class T>
DEBIAS_HD InterDRow<T> interd_row(T s, T rb, T rd, T known, T omega, T gamma, T epsilon) {
  const T biased_error = known - rb, debiased_error = known - rd;
  const T biased_loss = biased_error * biased_error, debiased_loss = omega * (debiased_error * debiased_error);
  const InterDCoefficients<T> w = interd_coefficients<kind>(biased_loss, debiased_loss, gamma, epsilon);
  const T residual = w.biased * (s - rb) + w.debiased * (s - rd);
  T slope = T(2) * residual;
  if constexpr (kind == InterDTargetKind::attached) {
    const T pull = biased_error / (biased_loss + epsilon) - omega * debiased_error / (debiased_loss + epsilon);
    slope *= T(1) - T(2) * gamma * (w.biased * w.debiased) * (rb - rd) * pull;
  }
  return {residual * residual, slope, (omega >= T(0)) & (omega - omega == T(0))};
}

}  // namespace debias
