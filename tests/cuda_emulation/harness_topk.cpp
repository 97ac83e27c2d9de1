#include "harness.h"

#include <algorithm>
#include <cstdint>

#include "topk/mf_topk_kernels.h"

using namespace harness;
using debias::Candidate;
using debias::cuda::TopkPlan;

namespace {

// Whole-numbered factors, so that scores are exact and tie.
template <class T>
struct Problem {
  Problem(int64_t rows, int64_t columns, int64_t d, unsigned seed) : n_users(rows), n_items(columns), factors(d) {
    std::mt19937 generator(seed);
    const auto numbers = [&](int64_t count) {
      std::vector<T> values;
      for (int64_t k = 0; k < count; ++k)
        values.push_back(debias::from_float<T>(static_cast<float>(static_cast<int>(generator() % 7) - 3)));
      return values;
    };
    p = numbers(rows * d);
    q = numbers(columns * d);
    a = numbers(rows);
    b = numbers(columns);
    offsets.push_back(0);
    for (int64_t user = 0; user < rows; ++user) {
      for (unsigned k = generator() % 9; k > 0; --k) seen.push_back(static_cast<int64_t>(generator() % columns));
      offsets.push_back(static_cast<int32_t>(seen.size()));
    }
  }

  double score(int64_t user, int64_t item) const {
    double sum = debias::to_float(a[user]) + debias::to_float(b[item]);
    for (int64_t f = 0; f < factors; ++f)
      sum += static_cast<double>(debias::to_float(p[user * factors + f])) *
             static_cast<double>(debias::to_float(q[item * factors + f]));
    return sum;
  }

  debias::SeenItems seen_items() const {
    return {{offsets.data(), 0}, {seen.data(), 1}, static_cast<int64_t>(seen.size())};
  }

  std::vector<Candidate<double>> best(int64_t user, int64_t k) const {
    std::vector<Candidate<double>> all;
    if (user >= 0 && user < n_users)
      for (int64_t item = 0; item < n_items; ++item)
        if (std::find(seen.begin() + offsets[user], seen.begin() + offsets[user + 1], item) ==
            seen.begin() + offsets[user + 1])
          all.push_back({score(user, item), item});
    std::sort(all.begin(), all.end(), [](const auto& x, const auto& y) { return x.before(y); });
    all.resize(k, {-INFINITY, -1});
    return all;
  }

  void check(const std::vector<int64_t>& users, int64_t k, const TopkPlan& plan) const {
    using A = debias::accumulator_t<T>;
    const int64_t n = static_cast<int64_t>(users.size());
    std::vector<T> scores(n * k);
    std::vector<int64_t> items(n * k, -7), list_items(n * k * plan.splits);
    std::vector<A> list_scores(n * k * plan.splits);
    const debias::TopkArgs<T> args{
        p.data(), q.data(), {users.data(), 1}, a.data(), b.data(), seen_items(), scores.data(), items.data(),
        n,        k,        factors,           n_users,  n_items};
    debias::cuda::mf_topk(args, plan, list_scores.data(), list_items.data(), nullptr);
    for (int64_t row = 0; row < n; ++row) {
      const auto expected = best(users[row], k);
      for (int64_t place = 0; place < k; ++place) {
        const std::string where = "row " + std::to_string(row) + ", place " + std::to_string(place);
        expect(items[row * k + place] == expected[place].item, where + ": another item");
        expect_close(where, debias::to_float(scores[row * k + place]), expected[place].score, 0);
      }
    }
  }

  int64_t n_users, n_items, factors;
  std::vector<T> p, q, a, b;
  std::vector<int32_t> offsets;
  std::vector<int64_t> seen;
};

const std::vector<int64_t> kUsers{3, 0, 8, -1, 4, 4, 99, 7};

}  // namespace

HARNESS_CASE(one_share_of_the_items) {
  Problem<float>(9, 150, 5, 1).check(kUsers, 7, {1, 192});
  Problem<double>(9, 130, 9, 2).check(kUsers, 40, {1, 192});
}

HARNESS_CASE(several_shares_are_merged) {
  Problem<float>(9, 300, 2, 3).check(kUsers, 5, {3, 128});
  Problem<float>(9, 300, 2, 4).check(kUsers, 120, {5, 64});
}

HARNESS_CASE(half_types) {
  Problem<debias::Half>(9, 100, 3, 5).check(kUsers, 10, {2, 64});
  Problem<debias::BFloat16>(9, 70, 1, 6).check(kUsers, 80, {1, 128});
}

HARNESS_CASE(more_users_than_a_tile) {
  std::vector<int64_t> users;
  for (int64_t k = 0; k < 35; ++k) users.push_back(k % 9);
  Problem<float>(9, 66, 33, 7).check(users, 3, {1, 128});
}

HARNESS_CASE(plans_cover_the_items) {
  for (const int64_t n : {int64_t{1}, int64_t{2000}, int64_t{1} << 20})
    for (const int64_t items : {int64_t{0}, int64_t{1}, int64_t{100000}, int64_t{1} << 33}) {
      const TopkPlan plan = debias::cuda::topk_plan(n, items);
      expect(plan.splits >= 1 && plan.splits * plan.items_per_split >= items, "items are left out");
      expect((plan.splits - 1) * plan.items_per_split <= items, "an empty share");
      expect(plan.items_per_split < int64_t{1} << 31, "a share does not fit int32");
    }
}

HARNESS_CASE(bad_seen_entries_are_found) {
  Problem<float> problem(9, 50, 1, 8);
  const std::vector<int64_t> users{2, 5, 8, 8};
  int64_t workspace[2];
  const auto check = [&] {
    return debias::cuda::check_seen(problem.seen_items(), {users.data(), 1}, 4, 50, workspace, nullptr);
  };
  expect(check().user == -1 && check().item == -1, "good entries were called bad");
  problem.seen[problem.offsets[5]] = 50;
  expect(problem.offsets[5] < problem.offsets[6], "user 5 must have seen something");
  expect(check().user == -1 && check().item == problem.offsets[5], "an item out of range was not found");
  problem.offsets[9] = static_cast<int32_t>(problem.seen.size()) + 1;
  expect(check().user == 2, "an offset out of range was not found");
}
