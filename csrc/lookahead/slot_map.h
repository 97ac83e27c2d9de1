// From the rows of a table to their slots among a few distinct rows: an array for small tables, else open addressing.
#pragma once

#include <cstdint>
#include <vector>

namespace debias {

class SlotMap {
 public:
  SlotMap(const std::vector<int64_t>& rows, int64_t table_rows) {
    const int64_t n = static_cast<int64_t>(rows.size());
    direct_ = table_rows <= 16 * n + 1024;
    if (direct_) {
      slots_.assign(static_cast<size_t>(table_rows), -1);
      for (int64_t j = 0; j < n; ++j) slots_[static_cast<size_t>(rows[static_cast<size_t>(j)])] = j;
      return;
    }
    int bits = 4;
    while ((int64_t{1} << bits) < 4 * n) ++bits;
    shift_ = 64 - bits;
    keys_.assign(size_t{1} << bits, -1);
    slots_.resize(size_t{1} << bits);
    for (int64_t j = 0; j < n; ++j) {
      const size_t at = place(rows[static_cast<size_t>(j)]);
      keys_[at] = rows[static_cast<size_t>(j)];
      slots_[at] = j;
    }
  }

  // -1 for a row without a slot
  int64_t find(int64_t row) const {
    if (direct_) return slots_[static_cast<size_t>(row)];
    const size_t at = place(row);
    return keys_[at] == row ? slots_[at] : -1;
  }

 private:
  // Where the row is, or the free place where it belongs.
  size_t place(int64_t row) const {
    size_t at = static_cast<size_t>((static_cast<uint64_t>(row) * 0x9E3779B97F4A7C15u) >> shift_);
    while (keys_[at] != row && keys_[at] >= 0) at = (at + 1) & (keys_.size() - 1);
    return at;
  }

  bool direct_;
  int shift_ = 0;
  std::vector<int64_t> keys_, slots_;
};

}  // namespace debias
