//! Medians and percentiles.

/// The value below which `share` (0 to 1) of the values lie, by the nearest rank.
/// NaN when there are none.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let at = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The middle value, or the mean of the two in the middle; NaN when there are none.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let (half, is_odd) = (sorted.len() / 2, sorted.len() % 2 == 1);
    match sorted.len() {
        0 => f64::NAN,
        _ if is_odd => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
