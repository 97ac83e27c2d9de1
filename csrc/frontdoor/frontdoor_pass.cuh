// The two kinds of passes, for the launchers.
#pragma once

#include "common/launch.cuh"
#include "frontdoor/frontdoor_pass.h"

namespace debias {
namespace frontdoor {

template <class Storage>
void mean_pass(const PassArgs<Storage>& args, const Plan& plan, cudaStream_t stream);
template <class Storage>
void gradient_pass(const PassArgs<Storage>& args, const Plan& plan, cudaStream_t stream);

}  // namespace frontdoor
}  // namespace debias
