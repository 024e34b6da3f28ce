"""Statistics of what flows through a layer, each named by the layer's weight."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.matrix import gram
from .observing import Accumulator, per_input, per_output


class Mean(Accumulator):
    r"""m_j = (1/n) Σ_r f(x_rj) over all valid rows r; f is the identity here.

    Shapes: [features] float64.
    """

    def __init__(self, option: float | None = None) -> None:
        super().__init__(option)
        self.total: Tensor | float = 0.0
        self.rows = 0

    def add(self, values: Tensor) -> None:
        """Add the sums of a batch of rows [n, features]."""
        self.total = self.total + self.each(values).sum(0, dtype=torch.float64)
        self.rows += values.shape[0]

    def value(self) -> Tensor:
        """The mean over all rows."""
        assert isinstance(self.total, Tensor)
        return self.total / self.rows

    def each(self, x: Tensor) -> Tensor:
        """What is averaged."""
        return x


per_input("input_mean")(Mean)
per_output("output_mean")(Mean)


class Square(Mean):
    r"""s_j = (1/n) Σ_r x_rj²: √(n s_j) is Wanda's ‖X_j‖₂. Shapes: [features] float64."""

    def each(self, x: Tensor) -> Tensor:
        """x²."""
        return x.square()


per_input("input_square")(Square)
per_output("output_square")(Square)


@per_input("input_abs_mean")
class AbsMean(Mean):
    r"""a_j = (1/n) Σ_r |x_rj|. Shapes: [features] float64."""

    def each(self, x: Tensor) -> Tensor:
        """|x|."""
        return x.abs()


@per_input("input_active")
class Active(Mean):
    r"""p_j = (1/n) #{r : |x_rj| > t}, t the number after the colon (`input_active:0.1`, else 0).

    Shapes: [features] float64.
    """

    def each(self, x: Tensor) -> Tensor:
        """1 where |x| exceeds the threshold."""
        return (x.abs() > (self.option or 0.0)).to(x.dtype)


@per_input("input_abs_max")
class AbsMax(Accumulator):
    r"""M_j = max_r |x_rj|. Shapes: [features], float32 or wider."""

    largest: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Compare with the largest of a batch of rows [n, features]."""
        new = values.abs().amax(0)
        self.largest = new if self.largest is None else torch.maximum(self.largest, new)

    def value(self) -> Tensor:
        """The largest magnitude of each feature."""
        assert self.largest is not None
        return self.largest


@per_input("input_variance")
class Variance(Accumulator):
    r"""v_j = (1/n) Σ_r (x_rj − m_j)², the population variance over all valid rows.

    Batches are merged by the deviations from their own means (Chan et al. 1979), so that a large
    mean takes no digits from a small variance. Shapes: [features] float64.
    """

    def __init__(self, option: float | None = None) -> None:
        super().__init__(option)
        self.mean: Tensor | float = 0.0
        self.moment: Tensor | float = 0.0
        self.rows = 0

    def add(self, values: Tensor) -> None:
        """Merge a batch of rows [n, features]."""
        x = values.double()
        mean, n = x.mean(0), x.shape[0]
        apart, rows = mean - self.mean, self.rows + n
        self.moment = (
            self.moment + (x - mean).square().sum(0) + apart.square() * (self.rows * n / rows)
        )
        self.mean = self.mean + apart * (n / rows)
        self.rows = rows

    def value(self) -> Tensor:
        """The variance over all rows."""
        assert isinstance(self.moment, Tensor)
        return self.moment / self.rows


@per_input("input_gram")
class Gram(Accumulator):
    r"""G = (1/n) Σ_r x_r x_rᵀ: 2 n G is the Hessian of a layer's squared error (SparseGPT's H).

    Shapes: [features, features], float32 or wider; sums of products of float32 rows.
    """

    def __init__(self, option: float | None = None) -> None:
        super().__init__(option)
        self.total: Tensor | None = None
        self.rows = 0

    def add(self, values: Tensor) -> None:
        """Add xᵀx of a batch of rows [n, features]."""
        self.take(self.measure(values))

    def measure(self, values: Tensor) -> tuple[Tensor, int]:
        """xᵀx and n."""
        return gram(values), values.shape[0]

    def take(self, measured: tuple[Tensor, int]) -> None:
        """Add them to the sums."""
        square, rows = measured
        self.total = square.clone() if self.total is None else self.total.add_(square)
        self.rows += rows

    def value(self) -> Tensor:
        """The mean over all rows."""
        assert self.total is not None
        return self.total / self.rows


@per_input("input_rows")
class Rows(Accumulator):
    """n, how many valid rows (tokens, samples, places) there were. Shapes: [1] int64."""

    rows = 0

    def add(self, values: Tensor) -> None:
        """Count the rows of a batch [n, features]."""
        self.rows += values.shape[0]

    def value(self) -> Tensor:
        """The count."""
        return torch.tensor([self.rows])
