// The CPU kernels of factor models on plain threads: row losses, training steps, lists of best items, the front-door
// aggregate, attention pooling and the sampler.
#include <numeric>

#include "attention/attention_kernels.h"
#include "frontdoor/frontdoor_kernels.h"
#include "mf_loss/mf_loss_kernels.h"
#include "mf_step/epoch_order.h"
#include "mf_step/mf_step_kernels.h"
#include "optimizer_step/optimizer_step_kernels.h"
#include "sampling/pair_sampler.h"
#include "sanitizers/cpu_threads.h"
#include "topk/mf_topk_kernels.h"

using namespace harness;

namespace {

// Tables and optimiser state that start anew in every run.
struct Side {
  Side(int64_t n, int64_t d, unsigned seed)
      : rows(uniform(n * d, -1, 1, seed)),
        bias(uniform(n, -1, 1, seed + 1)),
        first(n * d),
        second(n * d, 0.1f),
        bias_first(n),
        bias_second(n, 0.1f) {}
  debias::SideTables<float> tables() {
    return {rows.data(),
            first.data(),
            second.data(),
            bias.data(),
            bias_first.data(),
            bias_second.data(),
            static_cast<int64_t>(bias.size())};
  }
  std::vector<float> rows, bias, first, second, bias_first, bias_second;
};

void check_steps(debias::OptimizerKind kind) {
  constexpr int64_t n = 8000, users = 3000, items = 700, d = 20;
  const auto u = indices<int32_t>(n, users, 1), i = indices<int32_t>(n, items, 2);
  const auto targets = uniform(n, -1, 1, 3), weights = uniform(n, 0, 1, 4);
  std::vector<int64_t> order(n);
  debias::epoch_order(n, 5, 0, order.data());
  check_threads([&] {
    Side of_users(users, d, 6), of_items(items, d, 8);
    const debias::Samples<float, int32_t> samples{u.data(), i.data(), targets.data(), weights.data(), nullptr,
                                                  nullptr,  n};
    const debias::StepOptions options{
        {kind, 0.05, 0.9, 0.999, 1e-8, 1}, debias::RowLossKind::mse, 0.1, 0.1, 0.25, false, false};
    std::vector<double> result{debias::cpu::mf_steps(debias::Model<float>{of_users.tables(), of_items.tables(), d},
                                                     samples, {order.data(), 3000, 0, 3}, options)};
    for (const Side* side : {&of_users, &of_items})
      append(result, side->rows, side->bias, side->first, side->second, side->bias_first, side->bias_second);
    return result;
  });
}

}  // namespace

HARNESS_CASE(mf_loss) {
  constexpr int64_t n = 3000, users = 200, items = 90, d = 33;
  const auto p = uniform(users * d, -1, 1, 1), q = uniform(items * d, -1, 1, 2), a = uniform(users, -1, 1, 3);
  const auto t = uniform(n, 0, 1, 4), w = uniform(n, 0, 2, 5), pseudo = uniform(n, 0, 1, 6);
  const auto u = indices<int64_t>(n, users, 7), i = indices<int64_t>(n, items, 8);
  check_threads([&] {
    std::vector<float> slopes(n), targets(n), weights(n), pseudo_targets(n);
    const debias::MFScoreArgs<float, int64_t> score{p.data(), q.data(), u.data(), i.data(), a.data(), nullptr, nullptr,
                                                    0.5,      nullptr,  n,        d,        users,    items};
    const debias::RowSums sums = debias::cpu::mf_loss(
        {debias::RowLossKind::bce, true}, score,
        debias::LossRows<float>{t.data(), w.data(), nullptr, pseudo.data(), slopes.data(), targets.data(),
                                weights.data(), nullptr, pseudo_targets.data(), 0.5});
    std::vector<double> result{sums.loss};
    append(result, slopes, targets, weights, pseudo_targets);
    return result;
  });
}

HARNESS_CASE(optimizer_step) {
  constexpr int64_t n = 5000, d = 9;
  const auto gradient = uniform(n * d, -1, 1, 2), start = uniform(n * d, -1, 1, 3);
  std::vector<int64_t> rows;
  for (int64_t row = 1; row < n; row += 3) rows.push_back(row);
  for (const bool sparse : {false, true})
    check_threads([&] {
      std::vector<float> table = start, first(n * d), second(n * d);
      const auto touched = static_cast<int64_t>(rows.size());
      debias::cpu::optimizer_step<float>(
          {{table.data(), first.data(), second.data(), gradient.data(), rows.data(), n, d, touched, sparse, true}},
          {{debias::OptimizerKind::adam, 0.05, 0.9, 0.999, 1e-8, 1}, 0.1});
      std::vector<double> result;
      append(result, table, first, second);
      return result;
    });
}

HARNESS_CASE(training_steps) {
  for (auto kind :
       {debias::OptimizerKind::rowwise_adagrad, debias::OptimizerKind::lazy_adam, debias::OptimizerKind::adam})
    check_steps(kind);
}

HARNESS_CASE(epoch_order) {
  check_threads([] {
    std::vector<int64_t> order(150000);
    debias::epoch_order(150000, 1, 2, order.data());
    return std::vector<double>(order.begin(), order.end());
  });
}

HARNESS_CASE(best_items) {
  constexpr int64_t users = 200, items = 9000, d = 16, n = 150, k = 5;
  const auto p = uniform(users * d, -1, 1, 1), q = uniform(items * d, -1, 1, 2), b = uniform(items, -1, 1, 3);
  const auto asked = indices<int64_t>(n, users, 4);
  std::vector<int64_t> offsets(users + 1), seen = indices<int64_t>(users * 30, items, 5);
  for (int64_t u = 0; u <= users; ++u) offsets[u] = 30 * u;
  check_threads([&] {
    std::vector<float> scores(n * k);
    std::vector<int64_t> best(n * k);
    const debias::IndexArray of_users{asked.data(), 1};
    const debias::SeenItems of_seen{{offsets.data(), 1}, {seen.data(), 1}, users * 30};
    const debias::BadSeen bad = debias::cpu::check_seen(of_seen, of_users, n, items);
    expect(bad.user == -1 && bad.item == -1, "every seen item is in range");
    debias::cpu::mf_topk(debias::TopkArgs<float>{p.data(), q.data(), of_users, nullptr, b.data(), of_seen,
                                                 scores.data(), best.data(), n, k, d, users, items});
    std::vector<double> result;
    append(result, scores, best);
    return result;
  });
}

HARNESS_CASE(frontdoor_and_its_gradients) {
  constexpr int64_t context = 300, samples = 200, teachers = 4, h = 9;
  const auto a = uniform(context * h, -1, 1, 1), c = uniform(samples * teachers * h, -1, 1, 2);
  const auto alpha = uniform(samples * teachers, -1, 1, 3), v = uniform(h, -1, 1, 4), v0 = uniform(1, -1, 1, 5);
  const auto grad = uniform(samples, -1, 1, 6);
  const auto index = indices<int64_t>(context, samples, 7);
  check_threads([&] {
    std::vector<float> out(samples), means(samples * teachers), to_context(context * h),
        to_mediators(samples * teachers * h), to_attention(samples * teachers), to_weight(h), to_bias(1);
    debias::FrontdoorArgs<float> args{};
    args.context = a.data(), args.mediators = c.data(), args.attention = alpha.data();
    args.weight = v.data(), args.bias = v0.data(), args.context_index = index.data();
    args.logits = args.exclude_self = 1;
    args.n_context = context, args.n_samples = samples, args.n_teachers = teachers, args.hidden = h;
    debias::cpu::frontdoor_aggregate(args, out.data(), means.data());
    debias::cpu::frontdoor_backward(
        args, grad.data(), means.data(),
        debias::FrontdoorGradients<float>{to_context.data(), to_mediators.data(), to_attention.data(), to_weight.data(),
                                          to_bias.data()});
    std::vector<double> result;
    append(result, out, means, to_context, to_mediators, to_attention, to_weight, to_bias);
    return result;
  });
}

HARNESS_CASE(attention_and_its_gradients) {
  constexpr int64_t batch = 60, steps = 9, d = 3, units = 5, parameters = units * (4 * d + 2) + units + 1;
  const auto q = uniform(batch * d, -1, 1, 1), k = uniform(batch * steps * d, -1, 1, 2),
             p = uniform(parameters, -1, 1, 3);
  const auto grad = uniform(batch * d, -1, 1, 4);
  const auto lengths = indices<int64_t>(batch, steps + 1, 5);
  check_threads([&] {
    std::vector<float> hidden(batch * steps * debias::attention_stride(units)), to_hidden(hidden.size());
    std::vector<float> scores(batch * steps), statistics(2 * units), out(batch * d), to_queries(q.size()),
        to_keys(k.size()), to_parameters(p.size());
    debias::AttentionArgs<float> args{};
    args.queries = q.data(), args.keys = k.data(), args.parameters = p.data(), args.lengths = lengths.data();
    args.hidden = hidden.data(), args.scores = scores.data(), args.statistics = statistics.data();
    args.batch = batch, args.steps = steps, args.width = d;
    args.units[0] = units, args.units[1] = 1, args.layers = 2;
    args.activation = debias::AttentionActivation::dice, args.batch_statistics = true, args.epsilon = 1e-8;
    debias::cpu::attention_pooling(args, out.data());
    debias::cpu::attention_pooling_backward(
        args, debias::AttentionGradients<float>{grad.data(), to_hidden.data(), to_queries.data(), to_keys.data(),
                                                to_parameters.data()});
    std::vector<double> result;
    append(result, out, statistics, to_queries, to_keys, to_parameters);
    return result;
  });
}

HARNESS_CASE(sampled_pairs) {
  constexpr int64_t users = 3000, items = 400, pairs = 20000, n = 40000;
  const auto u = indices<int64_t>(pairs, users, 1), i = indices<int64_t>(pairs, items, 2);
  check_threads([&] {
    debias::PairSampler sampler(u.data(), i.data(), pairs, users, items, 3);
    std::vector<int64_t> to_users(n), to_items(n), given(n / 4);
    std::vector<double> result;
    sampler.uniform(sampler.advance(n), n, to_users.data(), to_items.data());
    append(result, to_users, to_items);
    sampler.unobserved(sampler.advance(n), n, to_users.data(), to_items.data());
    append(result, to_users, to_items);
    std::iota(given.begin(), given.end(), int64_t{0});
    for (int64_t& user : given) user %= users;
    sampler.negatives(sampler.advance(n), given.data(), n / 4, 4, to_users.data(), to_items.data());
    append(result, to_users, to_items);
    return result;
  });
}
