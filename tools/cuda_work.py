"""What the CUDA kernels have to do at least, at stated sizes: bytes to and from memory, operations, launches.

Float32 values, int64 indices. A multiply-add is two operations, an elementary function about thirty. Sorts and scans
that torch does for an operator are left out. What is read again from the cache is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOAT, INDEX = 4, 8  # bytes
SIGMOID = 30  # operations


@dataclass(frozen=True)
class Work:
    """One operator at one size.

    Args:
        operator: public name, and which part of it.
        kernels: names of the kernels that do it, the heaviest first.
        size: of the problem, in words.
        bytes_moved: read once and written once.
        operations: floating point.
        launches: of kernels.
        double: the operations are in float64.
    """

    operator: str
    kernels: tuple[str, ...]
    size: str
    bytes_moved: float
    operations: float
    launches: int
    double: bool = False


def mf_score(pairs: int = 1 << 20, d: int = 64) -> Work:
    moved = pairs * (2 * FLOAT * d + 2 * INDEX + FLOAT)
    return Work("mf_score forward", ("mf_score_kernel",), f"{pairs:,} pairs, d = {d}", moved, pairs * 2 * d, 1)


def mf_score_backward(pairs: int = 1 << 20, d: int = 64, users: int = 1_000_000, items: int = 100_000) -> Work:
    by_sample = 2 * pairs * (3 * INDEX + FLOAT + FLOAT * d)
    tables = FLOAT * d * (users + items + min(pairs, users) + min(pairs, items))  # zeros, then the rows with samples
    size = f"{pairs:,} pairs, d = {d}, dense tables {users:,} x {items:,}"
    return Work("mf_score backward", ("row_gradient_kernel",), size, by_sample + tables, 4 * pairs * d, 2)


def row_loss(operator: str, kernel: str, reads: int, writes: int, per_row: int, rows: int = 1 << 24) -> Work:
    """Columns of floats in and out, then two small kernels for the sum."""
    moved = rows * FLOAT * (reads + writes)
    kernels = (kernel, "final_sums_kernel", "write_loss_kernel")
    return Work(operator, kernels, f"{rows:,} rows", moved, rows * per_row, 3)


def mf_loss(pairs: int = 1 << 20, d: int = 64) -> Work:
    moved = pairs * (2 * FLOAT * d + 2 * INDEX + 2 * FLOAT)
    operations = pairs * (2 * d + 2 * SIGMOID)
    return Work("mf_loss forward", ("mf_loss_kernel",), f"{pairs:,} pairs, d = {d}", moved, operations, 3)


def mf_step(pairs: int = 1 << 20, d: int = 64, users: int = 1_000_000, items: int = 100_000) -> Work:
    """Slopes, then a kernel a side; Adagrad reads and writes a row and its state, and the users' old rows are kept."""
    rows = min(pairs, users) + min(pairs, items)
    slopes = pairs * (2 * FLOAT * d + 2 * INDEX + 4 * FLOAT + INDEX)
    sides = 2 * pairs * (3 * INDEX + FLOAT + FLOAT * d) + rows * 4 * FLOAT * d + min(pairs, users) * FLOAT * d
    operations = pairs * (6 * d + 2 * SIGMOID) + rows * 8 * d
    size = f"{pairs:,} pairs, d = {d}, tables {users:,} x {items:,}, Adagrad"
    return Work("mf_step_", ("side_kernel", "slope_kernel", "loss_kernel"), size, slopes + sides, operations, 6)


def optimizer_step(rows: int = 1_000_000, d: int = 64) -> Work:
    """Adam reads the gradient, reads and writes the table and both moments."""
    values = rows * d
    return Work("optimizer_step_", ("optimizer_kernel",), f"{rows:,} x {d}, Adam", values * 7 * FLOAT, values * 12, 1)


def additive_weights(rows: int = 1 << 20) -> Work:
    moved = rows * (3 * INDEX + FLOAT)
    return Work("additive_weights", ("additive_weights_kernel",), f"{rows:,} rows", moved, rows * SIGMOID, 1)


def block_tiles(users: int = 6_000, items: int = 500, d: int = 10) -> Work:
    """Each side makes the scores of three tables again; one of them has a gradient."""
    operations = 2 * users * items * (4 * 2 * (d + 2) + 4 * SIGMOID)
    moved = 5 * FLOAT * (users + items) * (d + 2)
    size = f"{users:,} users x {items:,} items, d = {d}, InterD"
    return Work("block_loss, all pairs", ("tile_kernel", "tile_rows_kernel"), size, moved, operations, 5)


def block_gram(users: int = 6_000, items: int = 500, d: int = 10) -> Work:
    """Weighted d x d products of both sides, and a row of the gradient from each."""
    rows = users + items
    operations = rows * (3 * 2 + 2 * 2) * (d + 2) ** 2
    moved = 4 * FLOAT * rows * (d + 2)
    kernels = ("products_kernel", "gradients_kernel", "contractions_kernel", "add_shares_kernel")
    return Work("block_loss, Gram form", kernels, f"{rows:,} rows, d = {d}", moved, operations, 12, double=True)


def lookahead(lower: int = 8_192, upper: int = 2_048, d: int = 64) -> Work:
    """Rows of both tables for the lower scores, the assumed step, the upper gradient and the contraction."""
    moved = (3 * lower + 4 * upper) * 2 * (FLOAT * d + INDEX)
    operations = (3 * lower + 4 * upper) * 4 * d + (lower + upper) * SIGMOID
    kernels = ("step_rows_kernel", "gradient_rows_kernel", "contraction_kernel", "lower_scores_kernel")
    return Work("lookahead_loss", kernels, f"{lower:,} lower and {upper:,} upper rows, d = {d}", moved, operations, 13)


def lookahead_block(
    users: int = 6_000, items: int = 500, pairs: int = 120_000, upper: int = 2_048, d: int = 10
) -> Work:
    """The rows of the block, gathered, four Gram matrices and a contraction a side; the rated pairs twice."""
    rows = users + items
    moved = 10 * FLOAT * rows * (d + 2) + 2 * pairs * 2 * (FLOAT * d + 2 * INDEX) + 4 * upper * 2 * (FLOAT * d + INDEX)
    operations = rows * (2 * 3 + 3 * 2) * (d + 2) ** 2 + 2 * pairs * 4 * d
    kernels = (
        "products_kernel",
        "block_rows_kernel",
        "block_pairs_kernel",
        "directions_kernel",
        "weight_gradient_kernel",
    )
    size = f"{users:,} users x {items:,} items, {pairs:,} pairs, {upper:,} upper rows, d = {d}"
    return Work("lookahead_loss, a block", kernels, size, moved, operations, 38, double=True)


def frontdoor_sizes(samples: int, teachers: int, hidden: int) -> tuple[str, float, float]:
    size = f"N = M = {samples:,}, K = {teachers}, h = {hidden}"
    rows = samples * teachers
    return size, FLOAT * (samples * hidden + rows * hidden + rows), float(rows) * samples


def frontdoor_forward(samples: int = 4_096, teachers: int = 16, hidden: int = 32) -> Work:
    size, moved, triples = frontdoor_sizes(samples, teachers, hidden)
    kernels = ("pass_kernel", "means_kernel", "aggregate_kernel", "counts_kernel")
    return Work("frontdoor_aggregate forward", kernels, size, moved, triples * (4 * hidden + SIGMOID), 4)


def frontdoor_backward(samples: int = 4_096, teachers: int = 16, hidden: int = 32) -> Work:
    """One pass a side; each makes the logits again, and adds what passes the gates."""
    size, moved, triples = frontdoor_sizes(samples, teachers, hidden)
    kernels = ("pass_kernel", "finish_kernel", "coefficients_kernel", "counts_kernel", "head_kernel")
    return Work("frontdoor_aggregate backward", kernels, size, 3 * moved, 2 * triples * (7 * hidden + SIGMOID), 7)


def attention_pooling(
    batch: int = 4_096, steps: int = 50, d: int = 8, units: tuple[int, int] = (64, 16), *, backward: bool = False
) -> Work:
    """Dice with the batch's statistics: a pass a layer, each reading the pre-activations below and writing its own."""
    positions, (first, second) = batch * steps, units
    products = positions * (first * d + second * first + second)
    gates = positions * (first + second) * (2 * SIGMOID if backward else SIGMOID)
    hidden = FLOAT * positions * (first + second)
    size = f"{batch:,} histories of {steps}, d = {d}, {first} and {second} Dice units"
    if backward:
        kernels = ("attention_backward_kernel", "attention_prepare_kernel", "attention_pull_kernel")
        kernels += ("attention_totals_kernel", "attention_store_kernel")
        return Work("attention_pooling backward", kernels, size, 6 * hidden, 4 * products + gates, 8)
    kernels = ("attention_forward_kernel", "attention_prepare_kernel", "attention_statistics_kernel")
    return Work("attention_pooling forward", kernels, size, 2 * hidden, 2 * products + gates, 6)


def fm_interaction(rows: int = 1 << 20, fields: int = 3, d: int = 8) -> Work:
    moved = rows * FLOAT * (fields * d + 1)
    size = f"{rows:,} rows, {fields} fields, d = {d}"
    return Work("fm_interaction", ("fm_kernel", "fm_backward_kernel"), size, moved, rows * 3 * fields * d, 1)


def group_ranking(rows: int = 1 << 20) -> Work:
    """Packed keys in, three gathers along the order, group starts, and the ranks read twice."""
    moved = rows * (2 * FLOAT + 3 * (INDEX + 2 * FLOAT) + 4 * INDEX + 2 * (FLOAT + 1))
    kernels = ("rank_groups_kernel", "gather_kernel", "prepare_kernel", "heads_kernel", "starts_kernel")
    return Work("group_ranking", kernels, f"{rows:,} rows, after the sort", moved, rows * 2 * SIGMOID, 10)


def mf_topk(users: int = 2_000, items: int = 100_000, d: int = 64, k: int = 20) -> Work:
    moved = FLOAT * d * (users + items) + users * k * (FLOAT + INDEX)
    size = f"{users:,} users x {items:,} items, d = {d}, k = {k}"
    return Work("mf_topk", ("topk_kernel", "merge_lists_kernel"), size, moved, 2 * users * items * d, 2)


def all_work() -> list[Work]:
    """Every operator that has CUDA kernels."""
    return [
        mf_score(),
        mf_score_backward(),
        row_loss("ips_loss, gradient of the scores", "weighted_loss_kernel", 3, 1, 2 * SIGMOID),
        row_loss("dr_loss, gradient of the scores", "doubly_robust_kernel", 5, 1, 3 * SIGMOID),
        row_loss("exposure_loss, both gradients", "click_loss_kernel", 3, 2, 3 * SIGMOID),
        row_loss("pair_loss, both gradients", "pair_loss_kernel", 2, 2, 2 * SIGMOID),
        row_loss("interd_loss, gradient of the scores", "interd_loss_kernel", 4, 1, 5 * SIGMOID),
        mf_loss(),
        mf_step(),
        optimizer_step(),
        additive_weights(),
        block_tiles(),
        block_gram(),
        lookahead(),
        lookahead_block(),
        frontdoor_forward(),
        frontdoor_backward(),
        attention_pooling(),
        attention_pooling(backward=True),
        fm_interaction(),
        group_ranking(),
        mf_topk(),
    ]
