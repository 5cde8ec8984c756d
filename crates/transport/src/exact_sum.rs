//! Sums without rounding.

/// The sum of all that was added, as numbers that do not overlap: nothing is lost, however far apart the terms lie.
///
/// Shewchuk, Adaptive precision floating-point arithmetic and fast robust geometric predicates (1997), grow-expansion.
///
/// ```
/// use brenier_transport::ExactSum;
///
/// let mut sum = ExactSum::default();
/// [1e100, 1.0, -1e100].into_iter().for_each(|x| sum.add(x));
/// assert_eq!(sum.value(), 1.0);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExactSum {
    /// From the least to the largest, none of them 0.
    parts: Vec<f64>,
}

impl ExactSum {
    /// Adds a number, which is finite.
    pub fn add(&mut self, mut x: f64) {
        let mut kept = 0;
        for at in 0..self.parts.len() {
            let (sum, lost) = two_sum(x, self.parts[at]);
            if lost != 0.0 {
                self.parts[kept] = lost;
                kept += 1;
            }
            x = sum;
        }
        self.parts.truncate(kept);
        if x != 0.0 {
            self.parts.push(x);
        }
    }

    /// Adds `x y`; exact unless the part of the product that a number cannot hold is below the least of all.
    pub fn add_product(&mut self, x: f64, y: f64) {
        let product = x * y;
        self.add(product);
        self.add(x.mul_add(y, -product));
    }

    /// Adds another sum, times a number.
    pub fn add_times(&mut self, other: &Self, factor: f64) {
        other.parts.iter().for_each(|&part| self.add_product(part, factor));
    }

    /// The product of two sums.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        let mut product = Self::default();
        other.parts.iter().for_each(|&part| product.add_times(self, part));
        product
    }

    /// The number next to the sum, or the one beside it.
    pub fn value(&self) -> f64 {
        self.parts.iter().sum()
    }
}

/// The rounded sum of two numbers, and what it leaves out. Knuth, The Art of Computer Programming, volume 2 (1997), §4.2.2.
fn two_sum(x: f64, y: f64) -> (f64, f64) {
    let sum = x + y;
    let of_y = sum - x;
    (sum, (x - (sum - of_y)) + (y - of_y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost() {
        let mut sum = ExactSum::default();
        assert_eq!(sum.value(), 0.0);
        for k in -300..300 {
            sum.add(10f64.powi(k));
        }
        for k in -300..300 {
            sum.add(-10f64.powi(k));
        }
        assert_eq!(sum, ExactSum::default());
        // (10¹⁶ + 1)² - 10³² = 2·10¹⁶ + 1, of which the last 1 is no f64.
        let mut root = ExactSum::default();
        [1e16, 1.0].into_iter().for_each(|x| root.add(x));
        let mut square = root.times(&root);
        square.add_product(1e16, -1e16);
        square.add(-2e16);
        assert_eq!(square.value(), 1.0);
        sum.add_times(&root, 3.0);
        sum.add(-3e16);
        assert_eq!(sum.value(), 3.0);
    }
}
