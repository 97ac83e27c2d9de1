#include "pair_sampler_module.h"

#include <pybind11/numpy.h>

#include "common/check.h"
#include "sampling/pair_sampler.h"

namespace py = pybind11;

namespace {

using debias::PairSampler;
using Indices = py::array_t<int64_t, py::array::c_style>;

std::unique_ptr<PairSampler> make(const Indices& users, const Indices& items, int64_t n_users, int64_t n_items,
                                  uint64_t seed) {
  if (users.size() != items.size())
    debias::value_error("items must be as many as users, ", users.size(), ", got ", items.size());
  const int64_t *user_data = users.data(), *item_data = items.data(), n = users.size();
  const py::gil_scoped_release release;
  return std::make_unique<PairSampler>(user_data, item_data, n, n_users, n_items, seed);
}

// `users` and `items` are filled with the next rows.
void uniform(PairSampler& sampler, Indices users, Indices items) {
  int64_t *user_data = users.mutable_data(), *item_data = items.mutable_data(), n = users.size();
  const py::gil_scoped_release release;
  sampler.uniform(sampler.advance(n), n, user_data, item_data);
}

void unobserved(PairSampler& sampler, Indices users, Indices items) {
  sampler.check_unobserved();
  int64_t *user_data = users.mutable_data(), *item_data = items.mutable_data(), n = users.size();
  const py::gil_scoped_release release;
  sampler.unobserved(sampler.advance(n), n, user_data, item_data);
}

void negatives(PairSampler& sampler, const Indices& given, int64_t per_user, Indices users, Indices items) {
  const int64_t *given_data = given.data(), n = given.size();
  int64_t *user_data = users.mutable_data(), *item_data = items.mutable_data();
  const py::gil_scoped_release release;
  sampler.check_unobserved(given_data, n);
  sampler.negatives(sampler.advance(n * per_user), given_data, n, per_user, user_data, item_data);
}

}  // namespace

void bind_pair_sampler(py::module_& m) {
  py::class_<PairSampler>(m, "PairSampler", "What debias_ext.PairSampler wraps: it writes into int64 arrays.")
      .def(py::init(&make), py::arg("users"), py::arg("items"), py::arg("n_users"), py::arg("n_items"), py::arg("seed"))
      .def("uniform", &uniform, py::arg("users").noconvert(), py::arg("items").noconvert())
      .def("unobserved", &unobserved, py::arg("users").noconvert(), py::arg("items").noconvert())
      .def("negatives", &negatives, py::arg("given"), py::arg("per_user"), py::arg("users").noconvert(),
           py::arg("items").noconvert())
      .def_property_readonly("seed", &PairSampler::seed)
      .def_property_readonly("position", &PairSampler::position)
      .def("restore", &PairSampler::restore, py::arg("seed"), py::arg("position"));
}
