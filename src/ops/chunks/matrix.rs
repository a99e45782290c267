//! The state of a head in the references of the recurrences, in f64.

/// A `[rows, columns]` matrix.
#[derive(Clone)]
pub(crate) struct Matrix {
    columns: usize,
    data: Vec<f64>,
}

impl Matrix {
    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        Self {
            columns,
            data: vec![0.0; rows * columns],
        }
    }

    /// M^T a.
    pub(crate) fn read(&self, a: &[f64]) -> Vec<f64> {
        let column = |j: usize| self.rows().zip(a).map(|(row, a)| row[j] * a).sum();
        (0..self.columns).map(column).collect()
    }

    /// M b.
    pub(crate) fn times(&self, b: &[f64]) -> Vec<f64> {
        self.rows().map(|row| dot(row, b)).collect()
    }

    /// M + a b^T.
    pub(crate) fn add(&mut self, a: &[f64], b: &[f64]) {
        for (row, a) in self.data.chunks_mut(self.columns).zip(a) {
            row.iter_mut().zip(b).for_each(|(x, b)| *x += a * b);
        }
    }

    /// diag(a) M.
    pub(crate) fn scale(&mut self, a: &[f64]) {
        for (row, a) in self.data.chunks_mut(self.columns).zip(a) {
            row.iter_mut().for_each(|x| *x *= a);
        }
    }

    /// Sums over the rows of the products with another one's elements.
    pub(crate) fn row_dots(&self, other: &Self) -> Vec<f64> {
        self.rows().zip(other.rows()).map(|(a, b)| dot(a, b)).collect()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.data.chunks(self.columns)
    }
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `factor` times x.
pub(crate) fn times(factor: f64, x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| factor * x).collect()
}

/// a - b.
pub(crate) fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}
