//! Fewer points of a long line that looks the same.

/// Most points of a line.
pub(super) const MOST_POINTS: usize = 1000;

/// Places of the points that stay: of each stretch of equal length the lowest and the highest, and both ends. Everything
/// where there are no more than `most`.
pub(super) fn kept(values: &[f64], most: usize) -> Vec<usize> {
    let n = values.len();
    if n <= most {
        return (0..n).collect();
    }
    let stretches = (most.saturating_sub(2) / 2).max(1);
    let mut places = vec![0];
    for i in 0..stretches {
        let (from, to) = (i * n / stretches, (i + 1) * n / stretches);
        let by_value = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]);
        let low = (from..to).min_by(by_value);
        let high = (from..to).max_by(by_value);
        places.extend(low.into_iter().chain(high));
    }
    places.push(n - 1);
    places.sort_unstable();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_extremes_stay() {
        let mut values: Vec<f64> = (0..10_000).map(|i| (f64::from(i) * 0.01).sin()).collect();
        values[5_000] = 9.0;
        values[7_001] = -9.0;
        let places = kept(&values, MOST_POINTS);
        assert!(places.len() <= MOST_POINTS && places.len() > MOST_POINTS / 2);
        assert!(places.is_sorted());
        for place in [0, 5_000, 7_001, 9_999] {
            assert!(places.contains(&place), "{place}");
        }
        assert_eq!(kept(&values[..10], MOST_POINTS), (0..10).collect::<Vec<_>>());
        assert!(kept(&[], 5).is_empty());
    }
}
