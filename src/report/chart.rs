//! A chart as data: drawn as SVG by [`super::svg`] and handed to Plotly by [`super::interactive`].

use super::style::Style;

/// An axis. Its name and unit stand at it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// What is shown.
    pub(super) name: String,
    /// Its unit; empty for counts.
    pub(super) unit: String,
    /// Whether its scale is logarithmic.
    pub(super) log: bool,
    /// What it has to show at least.
    pub(super) range: Option<[f64; 2]>,
}

impl Axis {
    /// A linear axis that shows what there is.
    pub(super) fn new(name: &str, unit: &str) -> Self {
        Self {
            name: name.to_owned(),
            unit: unit.to_owned(),
            log: false,
            range: None,
        }
    }

    /// A logarithmic one.
    pub(super) fn log(name: &str, unit: &str) -> Self {
        Self {
            log: true,
            ..Self::new(name, unit)
        }
    }

    /// With a range that is always shown.
    pub(super) fn at_least(self, low: f64, high: f64) -> Self {
        Self {
            range: Some([low, high]),
            ..self
        }
    }

    /// Name and unit.
    pub(super) fn title(&self) -> String {
        match self.unit.as_str() {
            "" => self.name.clone(),
            unit => format!("{} [{unit}]", self.name),
        }
    }

    /// Whether a value has a place on it.
    pub(super) fn has(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value > 0.0)
    }
}

/// A point with what is known about it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Point {
    /// Across.
    pub(super) x: f64,
    /// Upwards.
    pub(super) y: f64,
    /// Ends of its interval.
    pub(super) interval: Option<[f64; 2]>,
    /// What is said when it is pointed at; empty: its coordinates.
    pub(super) note: String,
    /// Whether it is marked, as the points of a Pareto front are.
    pub(super) marked: bool,
}

impl Point {
    /// Without an interval.
    pub(super) fn new(x: f64, y: f64) -> Self {
        Self {
            x,
            y,
            ..Self::default()
        }
    }
}

/// How points are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Joined, each marked, with intervals as whiskers.
    Marked,
    /// Joined, with intervals as a band.
    Band,
    /// Joined by a thin line; on the interactive chart alone.
    Thin,
    /// Not joined, with intervals as whiskers.
    Points,
    /// A thin dashed line in grey: a baseline, a ceiling, a front.
    Level,
}

/// Points that belong together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// Name, which stands at its end.
    pub(super) label: String,
    /// The model that the page's legend hides and shows it with; empty for levels.
    pub(super) model: String,
    /// Colour and marker; none for levels.
    pub(super) style: Option<Style>,
    /// How it is drawn.
    pub(super) look: Look,
    /// By x.
    pub(super) points: Vec<Point>,
    /// Other values of x that the page can show instead, by name.
    pub(super) other_x: Vec<(&'static str, Vec<f64>)>,
}

impl Series {
    /// Of a model's variant.
    pub(super) fn new(label: &str, model: &str, style: Style, look: Look, points: Vec<Point>) -> Self {
        Self {
            label: label.to_owned(),
            model: model.to_owned(),
            style: Some(style),
            look,
            points,
            other_x: Vec::new(),
        }
    }

    /// A thin dashed line.
    pub(super) fn level(label: &str, points: Vec<Point>) -> Self {
        Self {
            label: label.to_owned(),
            model: String::new(),
            style: None,
            look: Look::Level,
            points,
            other_x: Vec::new(),
        }
    }
}

/// One coordinate system.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    /// Name in files and on the page: letters, digits and `-`.
    pub(super) id: String,
    /// What stands over it.
    pub(super) title: String,
    /// A sentence with its main number, for who does not see it.
    pub(super) alt: String,
    /// Across.
    pub(super) x: Axis,
    /// Upwards.
    pub(super) y: Axis,
    /// What is in it.
    pub(super) series: Vec<Series>,
    /// Places in [`super::Material::runs`] of the runs behind it.
    pub(super) runs: Vec<usize>,
    /// Whether lines were thinned.
    pub(super) thinned: bool,
}

impl Chart {
    /// What the axes have to show: the points, their intervals and the ranges asked for.
    pub(super) fn extent(&self) -> [[f64; 2]; 2] {
        let mut xs = self.x.range.map_or_else(Vec::new, Vec::from);
        let mut ys = self.y.range.map_or_else(Vec::new, Vec::from);
        for point in self.series.iter().flat_map(|s| &s.points) {
            xs.push(point.x);
            ys.push(point.y);
            ys.extend(point.interval.into_iter().flatten());
        }
        // An interval wider than the range that is asked for would squeeze what matters.
        if let Some([low, high]) = self.y.range {
            let room = 0.05 * (high - low);
            ys.iter_mut().for_each(|y| *y = y.clamp(low - room, high + room));
        }
        [span(&self.x, &xs), span(&self.y, &ys)]
    }
}

fn span(axis: &Axis, values: &[f64]) -> [f64; 2] {
    let inside = || values.iter().copied().filter(|v| axis.has(*v));
    let (low, high) = (
        inside().fold(f64::MAX, f64::min),
        inside().fold(f64::MIN, f64::max),
    );
    match (axis.log, low > high) {
        (true, true) => [1.0, 10.0],
        (false, true) => [0.0, 1.0],
        (true, false) => {
            let room = (high / low).powf(0.05).max(1.08);
            [low / room, high * room]
        }
        (false, false) if low == high => [low - 0.5, high + 0.5],
        (false, false) => {
            let room = 0.03 * (high - low);
            [low - room, high + room]
        }
    }
}

/// Values at which an axis has ticks.
pub(super) fn ticks([low, high]: [f64; 2], log: bool) -> Vec<f64> {
    if log {
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let parts: &[f64] = if high / low < 80.0 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let step = ((high / low).log10() / 6.0).ceil().max(1.0) as usize;
        let all = decades
            .step_by(step)
            .flat_map(|d| parts.iter().map(move |p| p * 10f64.powi(d)));
        let found: Vec<f64> = all.filter(|v| (low..=high).contains(v)).collect();
        // A narrow range is nearly linear.
        return if found.len() < 2 {
            ticks([low, high], false)
        } else {
            found
        };
    }
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|f| f * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A tick's number: `0.05`, `20`, `1.5k`, `2M`.
pub(super) fn tick_text(value: f64) -> String {
    let size = value.abs();
    let plain = |v: f64| {
        let text = format!("{v:.6}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match size {
        _ if size >= 1e15 => format!("{value:.0e}"),
        _ if size >= 1e12 => plain(value / 1e12) + "T",
        _ if size >= 1e9 => plain(value / 1e9) + "G",
        _ if size >= 1e6 => plain(value / 1e6) + "M",
        _ if size >= 1e4 => plain(value / 1e3) + "k",
        _ if size > 0.0 && size < 1e-4 => format!("{value:.0e}"),
        _ => plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_inside() {
        assert_eq!(ticks([0.0, 100.0], false), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks([0.3, 0.9], false), [0.4, 0.6000000000000001, 0.8]);
        assert_eq!(ticks([1.0, 1e4], true), [1.0, 10.0, 100.0, 1e3, 1e4]);
        assert_eq!(ticks([15.0, 220.0], true), [20.0, 50.0, 100.0, 200.0]);
        assert_eq!(ticks([21.0, 49.0], true), [30.0, 40.0]);
        assert!(ticks([1.0, 1e30], true).len() < 9);
        let text = [0.0, 0.05, 20.0, 1500.0, 15_000.0, 2e6, 1e-5, 0.6000000000000001].map(tick_text);
        assert_eq!(text, ["0", "0.05", "20", "1500", "15k", "2M", "1e-5", "0.6"]);
    }

    #[test]
    fn wide_intervals_do_not_squeeze_the_range_asked_for() {
        let mut point = Point::new(1.0, 50.0);
        point.interval = Some([-400.0, 500.0]);
        let chart = Chart {
            id: "a".to_owned(),
            title: String::new(),
            alt: String::new(),
            x: Axis::log("parameters", ""),
            y: Axis::new("accuracy", "%").at_least(0.0, 100.0),
            series: vec![Series::level("a", vec![point, Point::new(0.0, f64::NAN)])],
            runs: Vec::new(),
            thinned: false,
        };
        let [x, y] = chart.extent();
        assert!(x[0] > 0.0 && x[1] < 2.0, "{x:?}");
        assert!(y[0] > -10.0 && y[1] < 110.0, "{y:?}");
    }
}
