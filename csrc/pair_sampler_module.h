// The Python class debias_ext._C.PairSampler.
#pragma once

#include <pybind11/pybind11.h>

void bind_pair_sampler(pybind11::module_& m);
