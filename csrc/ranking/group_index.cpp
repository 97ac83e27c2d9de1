#include "ranking/group_index.h"

namespace debias {
namespace {

// Open addressing; values start as 0.
class IdTable {
 public:
  struct Cell {
    int64_t id, value;
    bool used;
  };

  explicit IdTable(int64_t ids) {
    while ((int64_t{1} << bits_) < 2 * ids) ++bits_;
    cells_.assign(size_t{1} << bits_, Cell{0, 0, false});
  }

  Cell& find(int64_t id) {
    const size_t mask = cells_.size() - 1;
    size_t at = (static_cast<uint64_t>(id) * 0x9e3779b97f4a7c15u) >> (64 - bits_);
    while (cells_[at].used && cells_[at].id != id) at = (at + 1) & mask;
    return cells_[at];
  }

  void add(int64_t id) {
    Cell& cell = find(id);
    if (cell.used) return;
    cell = {id, 0, true};
    if (2 * ++count_ > static_cast<int64_t>(cells_.size())) grow();
  }

  std::vector<int64_t> ids() const {
    std::vector<int64_t> ids;
    for (const Cell& cell : cells_)
      if (cell.used) ids.push_back(cell.id);
    return ids;
  }

 private:
  void grow() {
    IdTable larger(static_cast<int64_t>(cells_.size()));
    for (const Cell& cell : cells_)
      if (cell.used) larger.find(cell.id) = cell;
    cells_.swap(larger.cells_);
    bits_ = larger.bits_;
  }

  int bits_ = 6;
  int64_t count_ = 0;
  std::vector<Cell> cells_;
};

}  // namespace

template <class Index>
SparseIds sparse_ids(const Index* groups, int64_t n) {
  constexpr int64_t kBlock = 1 << 18;
  std::vector<std::vector<int64_t>> found(static_cast<size_t>(block_count(n, kBlock)));
  parallel_blocks(n, kBlock, kBlock, [&](int64_t block, int64_t begin, int64_t end) {
    IdTable table(0);
    for (int64_t row = begin; row < end; ++row) table.add(static_cast<int64_t>(groups[row]));
    found[static_cast<size_t>(block)] = table.ids();
  });
  SparseIds out{{}, Buffer<int64_t>(n)};
  for (const auto& ids : found) out.ids.insert(out.ids.end(), ids.begin(), ids.end());
  std::sort(out.ids.begin(), out.ids.end());
  out.ids.erase(std::unique(out.ids.begin(), out.ids.end()), out.ids.end());
  IdTable places(static_cast<int64_t>(out.ids.size()));
  for (size_t place = 0; place < out.ids.size(); ++place)
    places.find(out.ids[place]) = {out.ids[place], static_cast<int64_t>(place), true};
  int64_t* slots = out.slots.data();
  parallel_blocks(n, kSerialRows, kSerialRows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) slots[row] = places.find(static_cast<int64_t>(groups[row])).value;
  });
  return out;
}

template SparseIds sparse_ids<int32_t>(const int32_t*, int64_t);
template SparseIds sparse_ids<int64_t>(const int64_t*, int64_t);

}  // namespace debias
