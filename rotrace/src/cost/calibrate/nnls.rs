//! Given: rows of counts, each with a number that they should explain. Gives: the factors, none below zero, with the least
//! sum of squared errors. Refuses to know: what is counted.
//!
//! The method is the active set of Lawson and Hanson (*Solving Least Squares Problems*, chapter 23), on normal equations:
//! only sums over the rows are kept, so any number of rows takes the same memory. Columns are scaled to length one, as
//! bytes and calls are of very different sizes.

/// A column whose part at right angles to those before it has less than this of its squared length says nothing new.
const INDEPENDENT: f64 = 1e-9;

/// A column is part of another when it has more than this of its length.
const PART: f64 = 1e-6;

/// A gradient below this part of the largest correlation is rounding.
const STEEP: f64 = 1e-10;

/// Sums over rows: what least squares needs of them.
#[derive(Clone, Debug)]
pub(super) struct Normal {
    rows: usize,
    /// For each two columns, the sum of their products.
    products: Vec<Vec<f64>>,
    /// For each column, the sum of its products with what is to be explained.
    explained: Vec<f64>,
    sum: f64,
    sum_of_squares: f64,
}

impl Normal {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            rows: 0,
            products: vec![vec![0.0; columns]; columns],
            explained: vec![0.0; columns],
            sum: 0.0,
            sum_of_squares: 0.0,
        }
    }

    /// Takes a row; counts beyond the columns are not looked at.
    pub(super) fn add(&mut self, counts: &[f64], target: f64) {
        let Self { rows, products, explained, sum, sum_of_squares } = self;
        *rows += 1;
        *sum += target;
        *sum_of_squares += target * target;
        for ((row, explained), count) in products.iter_mut().zip(explained).zip(counts) {
            *explained += count * target;
            row.iter_mut().zip(counts).for_each(|(product, other)| *product += count * other);
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The factor of each column; `None` of one that is zero throughout, and of those that cannot be told apart.
    pub(super) fn solve(&self) -> Vec<Option<f64>> {
        let lengths: Vec<f64> = diagonal(&self.products).map(f64::sqrt).collect();
        let known = |at: &usize| lengths.get(*at).is_some_and(|length| *length > 0.0);
        let columns: Vec<usize> = (0..lengths.len()).filter(known).collect();
        let scaled =
            Problem { products: self.products.clone(), explained: self.explained.clone() }.scaled(&lengths);
        let mut factors = vec![None; lengths.len()];
        for (at, factor) in scaled.active_set(&columns) {
            if let (Some(place), Some(length)) = (factors.get_mut(at), lengths.get(at)) {
                *place = factor.map(|factor| factor / length);
            }
        }
        factors
    }

    /// Which part of the variance the factors explain.
    pub(super) fn r_squared(&self, factors: &[Option<f64>]) -> Option<f64> {
        let factors: Vec<f64> = factors.iter().map(|factor| factor.unwrap_or_default()).collect();
        let dot = |left: &[f64], right: &[f64]| left.iter().zip(right).map(|(a, b)| a * b).sum::<f64>();
        let squares: Vec<f64> = self.products.iter().map(|row| dot(row, &factors)).collect();
        let residual = self.sum_of_squares - 2.0 * dot(&self.explained, &factors) + dot(&squares, &factors);
        let variance = self.sum_of_squares - self.sum * self.sum / (self.rows.max(1) as f64);
        (variance > self.sum_of_squares * f64::EPSILON).then(|| 1.0 - residual.max(0.0) / variance)
    }
}

/// Normal equations with columns of length one.
struct Problem {
    products: Vec<Vec<f64>>,
    explained: Vec<f64>,
}

impl Problem {
    fn scaled(mut self, lengths: &[f64]) -> Self {
        let inverse = |length: &f64| if *length > 0.0 { 1.0 / length } else { 0.0 };
        for ((row, explained), length) in self.products.iter_mut().zip(&mut self.explained).zip(lengths) {
            *explained *= inverse(length);
            row.iter_mut()
                .zip(lengths)
                .for_each(|(product, other)| *product *= inverse(length) * inverse(other));
        }
        self
    }

    fn product(&self, row: usize, column: usize) -> f64 {
        self.products.get(row).and_then(|row| row.get(column)).copied().unwrap_or_default()
    }

    fn explained(&self, column: usize) -> f64 {
        self.explained.get(column).copied().unwrap_or_default()
    }

    /// The factor of each of the columns.
    fn active_set(&self, columns: &[usize]) -> Vec<(usize, Option<f64>)> {
        let largest = columns.iter().map(|at| self.explained(*at).abs()).fold(0.0, f64::max);
        // Columns with a factor above zero, in the order in which they were taken.
        let mut taken: Vec<(usize, f64)> = Vec::new();
        let mut dependent: Vec<usize> = Vec::new();
        // Those that would go below zero at once; they are tried again when others have changed.
        let mut refused: Vec<usize> = Vec::new();
        // Each round lessens the error, so it ends; the bound is for rounding that makes it go in circles.
        for _ in 0..16 * columns.len().max(1) {
            let free = columns.iter().copied().filter(|at| {
                !taken.iter().any(|(taken, _)| taken == at)
                    && !dependent.contains(at)
                    && !refused.contains(at)
            });
            let steepest = free
                .map(|at| (at, self.gradient(at, &taken)))
                .filter(|(_, gradient)| *gradient > STEEP * largest)
                .max_by(|left, right| left.1.total_cmp(&right.1));
            let Some((newcomer, _)) = steepest else { break };
            let order: Vec<usize> = taken.iter().map(|(at, _)| *at).chain([newcomer]).collect();
            match self.least_squares(&order, |at| self.explained(at)) {
                None => dependent.push(newcomer),
                Some(factors) if factors.last().is_none_or(|factor| *factor <= 0.0) => refused.push(newcomer),
                Some(factors) => {
                    taken.push((newcomer, 0.0));
                    self.step(&mut taken, factors);
                    refused.clear();
                    if taken.len() < order.len() {
                        // What depended on one that was dropped may be independent of the others.
                        dependent.clear();
                    }
                }
            }
        }
        let order: Vec<usize> = taken.iter().map(|(at, _)| *at).collect();
        let mut factors: Vec<(usize, Option<f64>)> = columns.iter().map(|at| (*at, Some(0.0))).collect();
        for (at, factor) in &mut factors {
            *factor =
                taken.iter().find(|(taken, _)| taken == at).map_or(*factor, |(_, factor)| Some(*factor));
        }
        // Of a column and those it is made of, any could have the factors that one has.
        let left: Vec<usize> = columns.iter().copied().filter(|at| !order.contains(at)).collect();
        for column in left {
            let alike = self.made_of(column, &order);
            factors.iter_mut().filter(|(at, _)| alike.contains(at)).for_each(|(_, factor)| *factor = None);
        }
        factors
    }

    /// The column and those that it is made of; nothing when it is independent of them.
    fn made_of(&self, column: usize, others: &[usize]) -> Vec<usize> {
        let Some(parts) = self.least_squares(others, |at| self.product(at, column)) else {
            return Vec::new();
        };
        let parts: Vec<(usize, f64)> = others.iter().copied().zip(parts).collect();
        let rest = parts
            .iter()
            .fold(self.product(column, column), |rest, (at, part)| rest - part * self.product(*at, column));
        if rest > INDEPENDENT {
            return Vec::new();
        }
        let used = parts.into_iter().filter(|(_, part)| part.abs() > PART);
        used.map(|(at, _)| at).chain([column]).collect()
    }

    /// How much the error would fall with a little more of a column.
    fn gradient(&self, column: usize, taken: &[(usize, f64)]) -> f64 {
        taken
            .iter()
            .fold(self.explained(column), |rest, (at, factor)| rest - self.product(column, *at) * factor)
    }

    /// Goes towards the solution, as far as no factor falls below zero; drops those that reach it, and goes on.
    fn step(&self, taken: &mut Vec<(usize, f64)>, mut towards: Vec<f64>) {
        loop {
            let limits = taken.iter().zip(&towards).filter(|(_, to)| **to <= 0.0);
            let limits = limits.map(|((_, from), to)| if from > to { from / (from - to) } else { 0.0 });
            let Some(part) = limits.min_by(f64::total_cmp) else { break };
            for ((_, factor), to) in taken.iter_mut().zip(&towards) {
                *factor += part * (to - *factor);
            }
            let zero = taken.iter().zip(&towards).filter(|(_, to)| **to <= 0.0);
            // The one that limits the step is at zero, whatever rounding says.
            let first = zero.min_by(|left, right| left.0.1.total_cmp(&right.0.1)).map(|((at, _), _)| *at);
            taken.retain(|(at, factor)| Some(*at) != first && *factor > 0.0);
            let order: Vec<usize> = taken.iter().map(|(at, _)| *at).collect();
            // Fewer columns than before, so they are still independent.
            towards = self.least_squares(&order, |at| self.explained(at)).unwrap_or_default();
        }
        taken.iter_mut().zip(towards).for_each(|((_, factor), to)| *factor = to);
    }

    /// The factors of these columns alone that explain `target`, of which the product with each column is given; `None` when
    /// the columns depend on one another. By Cholesky's decomposition.
    fn least_squares(&self, columns: &[usize], target: impl Fn(usize) -> f64) -> Option<Vec<f64>> {
        let mut lower: Vec<Vec<f64>> = Vec::with_capacity(columns.len());
        let mut forward: Vec<f64> = Vec::with_capacity(columns.len());
        let dot = |left: &[f64], right: &[f64]| left.iter().zip(right).map(|(a, b)| a * b).sum::<f64>();
        for row in columns {
            let mut own = Vec::with_capacity(lower.len() + 1);
            for (column, before) in columns.iter().zip(&lower) {
                let rest = self.product(*row, *column) - dot(&own, before);
                own.push(rest / before.last()?);
            }
            let pivot = self.product(*row, *row) - dot(&own, &own);
            if pivot < INDEPENDENT {
                return None;
            }
            forward.push((target(*row) - dot(&own, &forward)) / pivot.sqrt());
            own.push(pivot.sqrt());
            lower.push(own);
        }
        // Backwards: what later factors explain is taken from the earlier ones.
        for at in (0..columns.len()).rev() {
            let row = lower.get(at)?;
            let (factor, earlier) = forward.get_mut(..=at)?.split_last_mut()?;
            *factor /= row.last()?;
            earlier.iter_mut().zip(row).for_each(|(rest, weight)| *rest -= *factor * weight);
        }
        Some(forward)
    }
}

fn diagonal(products: &[Vec<f64>]) -> impl Iterator<Item = f64> {
    products.iter().enumerate().map(|(at, row)| row.get(at).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn solve<const N: usize>(rows: &[([f64; N], f64)]) -> (Normal, Vec<Option<f64>>) {
        let mut normal = Normal::new(N);
        for (counts, target) in rows {
            normal.add(counts, *target);
        }
        let factors = normal.solve();
        (normal, factors)
    }

    /// Rows and the factors that a person computed.
    fn check<const N: usize>(rows: &[([f64; N], f64)], expect: [Option<f64>; N]) {
        let (_, factors) = solve(rows);
        for (found, expect) in factors.iter().zip(expect) {
            let near = found.zip(expect).is_some_and(|(found, expect)| (found - expect).abs() < 1e-9);
            assert!(near || *found == expect, "{factors:?} is not {expect:?}");
        }
    }

    #[test]
    fn solutions_computed_by_hand() {
        check(&[([1.0, 0.0], 2.0), ([0.0, 1.0], 3.0)], [Some(2.0), Some(3.0)]);
        // Free, the second factor would be -1.
        check(&[([1.0, 0.0], 2.0), ([0.0, 1.0], -1.0)], [Some(2.0), Some(0.0)]);
        // A line through three points: the normal equations are 3a + 6b = 10 and 6a + 14b = 23.
        check(&[([1.0, 1.0], 2.0), ([1.0, 2.0], 3.0), ([1.0, 3.0], 5.0)], [Some(1.0 / 3.0), Some(1.5)]);
        // Falling points: the slope would be -1, so the best is the mean.
        check(&[([1.0, 1.0], 3.0), ([1.0, 2.0], 2.0), ([1.0, 3.0], 1.0)], [Some(2.0), Some(0.0)]);
        // The second column is the steepest, and has to go when the two that it looks like are taken.
        check(
            &[([1.0, 1.0, 0.0], 1.0), ([0.0, 1.0, 1.0], 1.0), ([0.0, 0.1, 0.0], -0.05)],
            [Some(1.0), Some(0.0), Some(1.0)],
        );
        // Nothing is explained by less than nothing.
        check(&[([1.0], -1.0), ([1.0], -2.0)], [Some(0.0)]);
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_known() {
        check(&[([1.0, 0.0], 2.0), ([2.0, 0.0], 4.0)], [Some(2.0), None]);
        let (_, factors) = solve(&[([1.0, 2.0], 5.0), ([2.0, 4.0], 10.0), ([3.0, 6.0], 15.0)]);
        assert_eq!(factors, [None, None]);
        // The third is of the first and the second; the fourth is of itself.
        let rows = [
            [1.0, 0.0, 1.0, 3.0],
            [0.0, 2.0, 2.0, 1.0],
            [1.0, 1.0, 2.0, 0.0],
            [2.0, 1.0, 3.0, 1.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        let (_, factors) = solve(&rows.map(|row| (row, row[0] + 2.0 * row[1] + 5.0 * row[3])));
        assert_eq!(factors.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, false, true]);
        let (normal, factors) = solve::<2>(&[]);
        assert_eq!((factors, normal.r_squared(&[])), (vec![None, None], None));
    }

    #[test]
    fn the_explained_part_of_the_variance() {
        let (normal, factors) = solve(&[([1.0, 1.0], 2.0), ([1.0, 2.0], 3.0), ([1.0, 3.0], 5.0)]);
        // Residuals 1/6, -1/3, 1/6; deviations -4/3, -1/3, 5/3.
        let expect = 1.0 - (1.0 / 6.0) / (14.0 / 3.0);
        assert!((normal.r_squared(&factors).unwrap() - expect).abs() < 1e-12);
        let (normal, factors) = solve(&[([1.0], 2.0), ([1.0], 2.0)]);
        assert_eq!(normal.r_squared(&factors), None);
    }

    const COLUMNS: usize = 6;

    fn rows() -> impl Strategy<Value = Vec<[f64; COLUMNS]>> {
        proptest::collection::vec(proptest::array::uniform6((0_u32..1000).prop_map(f64::from)), 24..60)
    }

    proptest! {
        #[test]
        fn known_factors_are_found(
            rows in rows(),
            truth in proptest::array::uniform6(prop_oneof![Just(0.0), 0.001_f64..100.0]),
            scale in proptest::array::uniform6(-6_i32..9),
        ) {
            let rows: Vec<([f64; COLUMNS], f64)> = rows
                .into_iter()
                .map(|row| {
                    let mut row = row;
                    row.iter_mut().zip(scale).for_each(|(count, scale)| *count *= 10_f64.powi(scale));
                    let scaled = truth.iter().zip(scale).map(|(factor, scale)| factor * 10_f64.powi(-scale));
                    (row, row.iter().zip(scaled).map(|(count, factor)| count * factor).sum())
                })
                .collect();
            let (_, factors) = solve(&rows);
            for ((found, expect), scale) in factors.iter().zip(truth).zip(scale) {
                let found = found.unwrap() * 10_f64.powi(scale);
                prop_assert!((found - expect).abs() < 1e-6 * expect.max(1.0), "{found} is not {expect}");
            }
        }

        /// The conditions of Karush, Kuhn and Tucker, which only the best factors fulfil.
        #[test]
        fn no_factor_can_be_bettered(
            rows in rows(),
            targets in proptest::collection::vec(-1000.0_f64..1000.0, 60),
        ) {
            let rows: Vec<_> = rows.into_iter().zip(targets).collect();
            let (normal, factors) = solve(&rows);
            let factors: Vec<f64> = factors.into_iter().map(Option::unwrap).collect();
            for (at, factor) in factors.iter().enumerate() {
                let gradient = normal.explained[at]
                    - normal.products[at].iter().zip(&factors).map(|(product, factor)| product * factor).sum::<f64>();
                let small = 1e-7 * (normal.products[at][at] * normal.sum_of_squares).sqrt();
                prop_assert!(*factor >= 0.0);
                prop_assert!(gradient < small, "a larger factor {at} would be better: {gradient}");
                prop_assert!(*factor == 0.0 || gradient.abs() < small, "factor {at} is off: {gradient}");
            }
        }
    }
}
