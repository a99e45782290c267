//! Numbers for reading.

use crate::stats::Mean;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A number of bytes.
pub fn bytes(n: f64) -> String {
    scaled(n, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A count.
pub fn count(n: f64) -> String {
    scaled(n, 1000.0, &["", "k", "M", "G", "T", "P"])
}

fn scaled(mut n: f64, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while n >= 0.9995 * base && unit + 1 < units.len() {
        n /= base;
        unit += 1;
    }
    let text = if unit == 0 || n >= 99.95 {
        format!("{n:.0} {}", units[unit])
    } else {
        format!("{n:.1} {}", units[unit])
    };
    text.trim_end().to_owned()
}

/// A number of things: `1 layer`, `2 layers`.
pub fn counted(n: impl TryInto<u64>, one: &str) -> String {
    match n.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

/// A time.
pub fn time(t: Duration) -> String {
    let s = t.as_secs_f64();
    match s {
        _ if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        _ if s < 1e-5 => format!("{:.1} us", s * 1e6),
        _ if s < 1e-3 => format!("{:.0} us", s * 1e6),
        _ if s < 1.0 => format!("{:.1} ms", s * 1e3),
        _ if s < 120.0 => format!("{s:.1} s"),
        _ if s < 7200.0 => format!("{:.0} min", s / 60.0),
        _ => format!("{:.1} h", s / 3600.0),
    }
}

/// A mean of fractions in percent with half of its interval, with the digits that the interval allows: `86.4`, `0.5`. One
/// value has no interval and two decimals.
pub fn percent(mean: &Mean) -> (String, Option<String>) {
    let value = 100.0 * mean.mean;
    match mean.half_width.map(|half| 100.0 * half) {
        None => (format!("{value:.2}"), None),
        Some(half) => {
            let digits = decimals(half);
            (format!("{value:.digits$}"), Some(format!("{half:.digits$}")))
        }
    }
}

/// `86.4 ± 0.5 %`, or `86.42 %` for one value.
pub fn percent_text(mean: &Mean) -> String {
    match percent(mean) {
        (value, Some(half)) => format!("{value} ± {half} %"),
        (value, None) => format!("{value} %"),
    }
}

/// Decimals of a number whose uncertainty this is: one digit of it, two where it begins with 1; at most two.
fn decimals(half: f64) -> usize {
    if half <= 0.0 {
        return 2;
    }
    let exponent = half.log10().floor();
    let first = half / 10f64.powf(exponent);
    let digits = -exponent + if first < 1.95 { 1.0 } else { 0.0 };
    digits.clamp(0.0, 2.0) as usize
}

/// A number with three digits: `0.0123`, `1.23`, `12.3`, `123`, `1.23e-5`.
pub fn short(x: f64) -> String {
    let size = x.abs();
    match size {
        _ if x == 0.0 => "0".to_owned(),
        _ if !(1e-3..1e6).contains(&size) => format!("{x:.2e}"),
        _ => {
            let decimals = (2.0 - size.log10().floor()).clamp(0.0, 5.0) as usize;
            format!("{x:.decimals$}")
        }
    }
}

/// A day as `2026-11-27`, in UTC.
pub fn day(time: SystemTime) -> String {
    let days = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
    // Days since 1 March of the year 0, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_reading() {
        let read = [bytes(512.0), bytes(1536.0), bytes(3.0 * 1024.0 * 1024.0 * 1024.0)];
        assert_eq!(read, ["512 B", "1.5 KiB", "3.0 GiB"]);
        assert_eq!(
            [count(7.0), count(39_223_000.0), count(999_960.0)],
            ["7", "39.2 M", "1.0 M"]
        );
        let times = [3e-7, 4e-6, 2e-5, 0.25, 90.0, 600.0, 36_000.0];
        assert_eq!(
            times.map(|s| time(Duration::from_secs_f64(s))),
            [
                "300 ns", "4.0 us", "20 us", "250.0 ms", "90.0 s", "10 min", "10.0 h"
            ]
        );
        assert_eq!(
            [0, 1, 2].map(|n: usize| counted(n, "layer")),
            ["0 layers", "1 layer", "2 layers"]
        );
        assert_eq!(
            [0.0123, 1.234, 12.34, 1234.0, 1.2e-5].map(short),
            ["0.0123", "1.23", "12.3", "1234", "1.20e-5"]
        );
    }

    #[test]
    fn a_mean_has_the_digits_of_its_interval() {
        let text = |mean, half_width| {
            percent_text(&Mean {
                n: 3,
                mean,
                half_width,
            })
        };
        assert_eq!(text(0.863_712, Some(0.005_2)), "86.4 ± 0.5 %");
        assert_eq!(text(0.863_712, Some(0.013)), "86.4 ± 1.3 %");
        assert_eq!(text(0.863_712, Some(0.24)), "86 ± 24 %");
        assert_eq!(text(0.863_712, Some(0.000_01)), "86.37 ± 0.00 %");
        assert_eq!(text(0.863_712, None), "86.37 %");
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let of = |seconds| day(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(of(0), "1970-01-01");
        assert_eq!(of(951_782_400), "2000-02-29");
        assert_eq!(of(1_795_737_600), "2026-11-27");
    }
}
