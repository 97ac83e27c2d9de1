// What the losses of clicks give for one row. Members that a kernel does not use are optimised away.
#pragma once

#include "common/hostdevice.h"

namespace debias {

template <class T>
struct Row {
  T value;    // ell(s, R, x)
  T score;    // slope in the score s
  T source;   // slope in the exposure x, or in its logit
  T mixed;    // slope of `score` in the exposure, or in its logit
  T click;    // slope in the click R
  int valid;  // the exposure lies in its range; the click is the caller's to check, is_click()
};

// Loss::clips: takes the least exposure that counts. Loss::binary_form: has a cheaper form for clicks of 0 or 1, which
// leaves out the slope in the click.
template <class Loss, bool binary, class T>
DEBIAS_HD Row<T> click_row(T s, T click, T x, T clip) {
  if constexpr (binary && Loss::binary_form) {
    return Loss::at_binary(s, click, x);
  } else if constexpr (Loss::clips) {
    return Loss::at(s, click, x, clip);
  } else {
    return Loss::at(s, click, x);
  }
}

template <class T>
DEBIAS_HD int is_click(T click) {
  return click >= T(0) && click <= T(1);
}

template <class T>
DEBIAS_HD int is_binary(T click) {
  return (click == T(0)) | (click == T(1));
}

}  // namespace debias
