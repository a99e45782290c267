//! How much time passes after a symbol.

use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Seconds of one time step.
pub const STEP_S: f64 = 0.1;
/// Longest gap, in time steps: 100 s.
pub const MAX_STEPS: u32 = 1000;
/// Largest |mu| and sigma of a log-normal gap: beyond, every draw is 0 or the longest.
const MAX_LOG: f64 = 10.0;

/// The law of the gaps of a set of samples. In files: seconds, a number or a table with one key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gap {
    /// So many time steps after every symbol.
    Fixed(u32),
    /// Uniform between two numbers of seconds, rounded to 0.1 s.
    Uniform([f64; 2]),
    /// exp(mu + sigma z) seconds, z standard normal: mu and sigma. Rounded to 0.1 s, at most 100 s.
    LogNormal([f64; 2]),
}

impl Gap {
    /// What a gap may be in a file.
    pub const ALLOWED: &'static str = "a multiple of 0.1 from 0 to 100 (seconds), { uniform = [low, high] } within 0 to \
                                       100, or { lognormal = [mu, sigma] } with |mu| and sigma up to 10";

    /// A fixed gap; `None` if it is no multiple of 0.1 s, negative, or longer than 100 s.
    pub fn fixed(seconds: f64) -> Option<Self> {
        let steps = (10.0 * seconds).round();
        // The nearest number to a decimal with one digit is what the division gives.
        let whole = steps / 10.0 == seconds;
        (whole && (0.0..=f64::from(MAX_STEPS)).contains(&steps)).then_some(Self::Fixed(steps as u32))
    }

    /// Time steps of the longest gap.
    pub fn max_steps(self) -> u32 {
        match self {
            Self::Fixed(steps) => steps,
            Self::Uniform([_, high]) => (10.0 * high).round_ties_even() as u32,
            Self::LogNormal(_) => MAX_STEPS,
        }
    }

    /// The probability of each number of time steps, from 0 on.
    pub fn probabilities(self) -> Vec<f64> {
        let most = self.max_steps();
        // The share of the law below so many steps.
        let below = |steps: f64| match self {
            Self::Fixed(fixed) => f64::from(u8::from(f64::from(fixed) < steps)),
            Self::Uniform([low, high]) if low == high => f64::from(u8::from(10.0 * low <= steps)),
            Self::Uniform([low, high]) => ((steps / 10.0 - low) / (high - low)).clamp(0.0, 1.0),
            Self::LogNormal([mu, 0.0]) => f64::from(u8::from(10.0 * libm::exp(mu) <= steps)),
            Self::LogNormal([mu, sigma]) => {
                let z = (libm::log(steps / 10.0) - mu) / sigma;
                0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
            }
        };
        let bound = |steps: u32| match steps {
            0 => 0.0,
            steps if steps > most => 1.0,
            steps => below(f64::from(steps) - 0.5),
        };
        (0..=most).map(|steps| bound(steps + 1) - bound(steps)).collect()
    }

    fn is_allowed(self) -> bool {
        let most = f64::from(MAX_STEPS) * STEP_S;
        match self {
            Self::Fixed(steps) => steps <= MAX_STEPS,
            Self::Uniform([low, high]) => 0.0 <= low && low <= high && high <= most,
            Self::LogNormal([mu, sigma]) => mu.abs() <= MAX_LOG && (0.0..=MAX_LOG).contains(&sigma),
        }
    }
}

/// Seconds, or the law.
impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(steps) => write!(f, "{} s", f64::from(*steps) / 10.0),
            Self::Uniform([low, high]) => write!(f, "{low} to {high} s"),
            Self::LogNormal([mu, sigma]) => write!(f, "lognormal({mu}, {sigma}) s"),
        }
    }
}

/// A gap as it lies in a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Seconds(f64),
    Law(BTreeMap<String, [f64; 2]>),
}

impl<'de> Deserialize<'de> for Gap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let gap = match Form::deserialize(deserializer) {
            Ok(Form::Seconds(seconds)) => Self::fixed(seconds),
            Ok(Form::Law(law)) if law.len() == 1 => law.into_iter().next().and_then(|(name, numbers)| {
                let law = match name.as_str() {
                    "uniform" => Self::Uniform,
                    "lognormal" => Self::LogNormal,
                    _ => return None,
                };
                Some(law(numbers)).filter(|gap| gap.is_allowed())
            }),
            _ => None,
        };
        gap.ok_or_else(|| serde::de::Error::custom(Self::ALLOWED))
    }
}

impl Serialize for Gap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(steps) => serializer.serialize_f64(f64::from(*steps) / 10.0),
            Self::Uniform(range) => serializer.collect_map([("uniform", range)]),
            Self::LogNormal(law) => serializer.collect_map([("lognormal", law)]),
        }
    }
}

/// The gaps at which a model is tested, the first being the one whose accuracy counts. In files: a gap, or a list of
/// them.
#[derive(Debug, Clone, PartialEq)]
pub struct TestGaps(Vec<Gap>);

impl TestGaps {
    /// A list that has at least one gap.
    pub fn new(gaps: Vec<Gap>) -> Option<Self> {
        (!gaps.is_empty()).then_some(Self(gaps))
    }

    /// The gap whose accuracy counts.
    pub fn first(&self) -> Gap {
        self.0[0]
    }

    /// All gaps.
    pub fn all(&self) -> &[Gap] {
        &self.0
    }
}

impl From<Gap> for TestGaps {
    fn from(gap: Gap) -> Self {
        Self(vec![gap])
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Gap),
    Many(Vec<Gap>),
}

impl<'de> Deserialize<'de> for TestGaps {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let gaps = match OneOrMany::deserialize(deserializer) {
            Ok(OneOrMany::One(gap)) => Some(gap.into()),
            Ok(OneOrMany::Many(gaps)) => Self::new(gaps),
            Err(_) => None,
        };
        gaps.ok_or_else(|| serde::de::Error::custom(format!("{}, or a list of these", Gap::ALLOWED)))
    }
}

impl Serialize for TestGaps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [gap] => gap.serialize(serializer),
            gaps => gaps.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_str, json};

    #[test]
    fn fixed_gaps_are_whole_steps() {
        for tenths in 0..=1000u32 {
            let seconds: f64 = format!("{}.{}", tenths / 10, tenths % 10).parse().unwrap();
            let gap = Gap::fixed(seconds).unwrap();
            assert_eq!(gap, Gap::Fixed(tenths));
            assert_eq!(serde_json::to_value(gap).unwrap(), json!(seconds));
        }
        for bad in [-0.1, 0.05, 0.15, 0.11, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Gap::fixed(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_form_is_read_and_written() {
        for (text, gap, steps) in [
            ("0.3", Gap::Fixed(3), 3),
            ("1", Gap::Fixed(10), 10),
            (r#"{"uniform":[0.1,1.0]}"#, Gap::Uniform([0.1, 1.0]), 10),
            (r#"{"lognormal":[-0.5,0.7]}"#, Gap::LogNormal([-0.5, 0.7]), 1000),
        ] {
            let read: Gap = from_str(text).unwrap();
            assert_eq!((read, read.max_steps()), (gap, steps), "{text}");
            assert_eq!(
                from_str::<Gap>(&serde_json::to_string(&gap).unwrap()).unwrap(),
                gap
            );
            assert_eq!(from_str::<TestGaps>(text).unwrap(), gap.into());
        }
        let many: TestGaps = from_str(r#"[1, {"uniform":[0.1,1.0]}]"#).unwrap();
        assert_eq!(many.all(), [Gap::Fixed(10), Gap::Uniform([0.1, 1.0])]);
        assert_eq!(
            serde_json::to_value(&many).unwrap(),
            json!([1.0, {"uniform": [0.1, 1.0]}])
        );
    }

    #[test]
    fn laws_add_up_to_one() {
        let eighteenth = Gap::Uniform([0.1, 1.0]).probabilities();
        assert_eq!(eighteenth.len(), 11);
        for (steps, p) in eighteenth.iter().enumerate() {
            let wanted = [0.0, 1.0 / 18.0, 1.0 / 9.0][[0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 1][steps]];
            assert!((p - wanted).abs() < 1e-15, "{steps}: {p}");
        }
        for gap in [
            Gap::Fixed(0),
            Gap::Fixed(3),
            Gap::Uniform([0.1, 0.1]),
            Gap::Uniform([0.0, 0.0]),
            Gap::LogNormal([-1.0, 0.0]),
            Gap::LogNormal([-1.0, 0.7]),
            Gap::LogNormal([5.0, 1.0]),
        ] {
            let law = gap.probabilities();
            assert!((law.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{gap}");
            assert!(law.iter().all(|&p| p >= 0.0) && law.len() == 1 + gap.max_steps() as usize);
        }
        assert_eq!(Gap::Fixed(3).probabilities(), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(Gap::Uniform([0.1, 0.1]).probabilities(), [0.0, 1.0]);
    }

    #[test]
    fn other_forms_are_refused_with_what_is_allowed() {
        for text in [
            "0.15",
            "-1",
            "\"long\"",
            r#"{"uniform":[1.0,0.1]}"#,
            r#"{"uniform":[-0.1,0.1]}"#,
            r#"{"uniform":[0.1,101.0]}"#,
            r#"{"uniform":[0.1]}"#,
            r#"{"lognormal":[0.0,-1.0]}"#,
            r#"{"lognormal":[11.0,1.0]}"#,
            r#"{"normal":[0.0,1.0]}"#,
            r#"{"uniform":[0.1,0.2],"lognormal":[0.0,1.0]}"#,
            "{}",
        ] {
            let error = from_str::<Gap>(text).unwrap_err().to_string();
            assert!(error.contains(Gap::ALLOWED), "{text}: {error}");
            assert!(from_str::<TestGaps>(&format!("[{text}]")).is_err(), "{text}");
        }
        assert!(from_str::<TestGaps>("[]").is_err());
    }
}
