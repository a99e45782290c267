//! Which card computes what right: all checks as one picture, and those that failed.

use super::cards::{CardPicture, Drawing, card_names};
use super::format;
use super::heat::{Grid, Tile};
use super::source::{CheckFile, Material};
use crate::check::{Check, Status};
use std::collections::BTreeSet;

fn names(checks: &[CheckFile]) -> Vec<String> {
    card_names(checks.iter().map(|file| (file.card(), file.path.as_path())))
}

fn number(x: Option<f64>) -> String {
    x.map_or_else(|| "not a number".to_owned(), format::short)
}

/// The kernels that ran: a variant by name, those that the device takes by itself, or a twin on the CPU.
fn kernels<'a>(check: &'a Check, card: &str) -> &'a str {
    match check.place() {
        place if place == card => "as chosen",
        place => place,
    }
}

/// Cards and kernels by op or model: the largest error over what is allowed.
pub(super) fn picture(material: &Material) -> Option<CardPicture> {
    let checks = &material.checks;
    let all = checks.iter().flat_map(|file| &file.report.checks);
    let made = all.filter(|check| check.status != Status::Skipped);
    let subjects: BTreeSet<&str> = made.map(Check::subject).collect();
    if subjects.is_empty() {
        return None;
    }
    let mut grid = Grid {
        row_name: "kernels".to_owned(),
        column_name: "op or model".to_owned(),
        columns: subjects.iter().map(|s| (*s).to_owned()).collect(),
        ..Grid::default()
    };
    let (mut failed, mut passed) = (0, 0);
    for (file, name) in checks.iter().zip(names(checks)) {
        let card = file.card();
        grid.headings.push((grid.rows.len(), name));
        let mut variants: Vec<&str> = Vec::new();
        for check in &file.report.checks {
            let variant = kernels(check, &card);
            if !variants.contains(&variant) {
                variants.push(variant);
            }
        }
        for variant in variants {
            let tiles = subjects.iter().map(|subject| {
                let of_subject: Vec<&Check> = file
                    .report
                    .checks
                    .iter()
                    .filter(|c| {
                        kernels(c, &card) == variant && c.subject() == *subject && c.status != Status::Skipped
                    })
                    .collect();
                let bad = of_subject.iter().filter(|c| c.status == Status::Failed).count();
                passed += of_subject.len() - bad;
                failed += bad;
                tile(subject, variant, &of_subject, bad)
            });
            grid.cells.push(tiles.collect());
            grid.rows.push(variant.to_owned());
        }
    }
    let title = "Which card computes what right".to_owned();
    Some(CardPicture {
        id: "atlas".to_owned(),
        alt: format!(
            "{title}: {passed} checks within what is allowed, {failed} not. Darkness is the largest error over what is \
             allowed, on a logarithmic scale from a ten-thousandth to 1; crossed out is beyond it, hatched was not run. As \
             chosen: the kernels that the device takes by itself; CPU: the twin that kernels are held against."
        ),
        title,
        drawing: Drawing::Grid(grid),
        files: checks.iter().map(file_line).collect(),
    })
}

fn tile(subject: &str, variant: &str, checks: &[&Check], bad: usize) -> Tile {
    let ratio = |c: &&Check| match (c.error, c.allowed) {
        (Some(error), Some(allowed)) => error / allowed,
        _ if c.status == Status::Failed => f64::INFINITY,
        _ => 0.0,
    };
    let Some(worst) = checks.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b))) else {
        return Tile::NotRun;
    };
    let note = format!(
        "{subject}, {variant}: {} checks, {bad} failed; closest to its limit {}: error {} of {}",
        checks.len(),
        worst.name,
        number(worst.error),
        number(worst.allowed)
    );
    match bad {
        // From a ten-thousandth of what is allowed to all of it.
        0 => Tile::Value(1.0 + ratio(worst).max(1e-4).log10() / 4.0, note),
        _ => Tile::Bad(note),
    }
}

fn file_line(file: &CheckFile) -> String {
    let report = &file.report;
    let driver = report.driver.as_ref();
    format!(
        "{}: {}{}, commit {}, {} passed, {} failed, {} skipped",
        file.path.display(),
        file.card(),
        driver.map_or_else(String::new, |d| format!(", {d}")),
        report.commit,
        report.passed,
        report.failed,
        report.skipped
    )
}

/// A line for each check that failed or was not made, and for each variant that failed its own test and is not used.
pub(super) fn failures(material: &Material) -> Vec<String> {
    let mut lines = Vec::new();
    for (file, name) in material.checks.iter().zip(names(&material.checks)) {
        let card = file.card();
        for check in &file.report.checks {
            if file.report.self_tests.contains_key(&check.name) {
                // Said below.
                continue;
            }
            let what = format!("{name}: {}, {}", kernels(check, &card), check.name);
            match check.status {
                Status::Passed => {}
                Status::Failed => lines.push(format!(
                    "{what} ({}): failed, error {}, allowed {}",
                    check.tensor.as_deref().unwrap_or("?"),
                    number(check.error),
                    number(check.allowed)
                )),
                Status::Skipped => lines.push(format!(
                    "{what}: not made, {}",
                    check.reason.as_deref().unwrap_or("for no reason that is known")
                )),
            }
        }
        for (variant, said) in &file.report.self_tests {
            if said != "passed" {
                lines.push(format!("{name}: {variant} is not used, its own test {said}"));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::svg::Place;
    use super::*;
    use serde_json::json;

    fn file(path: &str) -> CheckFile {
        let check = |name: &str, device: &str, variant: Option<&str>, error: f64| {
            json!({ "name": name, "device": device, "variant": variant, "tensor": "y", "error": error, "allowed": 1e-5,
                "status": if error < 1e-5 { "passed" } else { "failed" } })
        };
        let report = json!({
            "commit": "abc1234", "device": "A card", "passed": 3, "failed": 1, "skipped": 1,
            "self_tests": { "linear/coop f16": "passed", "mesa/coop f16": "failed: o is off by 2.2e-1" },
            "checks": [
                check("scale tiny", "A card", None, 1e-7),
                check("scale tiny", "CPU (2 threads, f64)", None, 1e-9),
                check("linear odd", "A card", Some("plain"), 1e-6),
                check("mesa odd", "A card", Some("coop"), 0.4),
                { "name": "fill large", "device": "A card", "status": "skipped", "reason": "no room" },
                { "name": "mesa/coop f16", "device": "A card", "status": "skipped", "reason": "o is off by 2.2e-1" },
            ],
        });
        CheckFile {
            path: path.into(),
            report: serde_json::from_value(report).unwrap(),
        }
    }

    #[test]
    fn rows_are_kernels_under_their_card() {
        let checks = vec![file("f32.json"), file("mixed.json")];
        let material = Material {
            checks,
            ..Material::default()
        };
        let picture = picture(&material).unwrap();
        let Drawing::Grid(grid) = &picture.drawing else {
            panic!("{picture:?}")
        };
        let four = ["as chosen", "CPU (2 threads, f64)", "plain", "coop"];
        assert_eq!(grid.rows, [four, four].concat());
        assert_eq!(
            grid.headings,
            [
                (0, "A card, f32.json".to_owned()),
                (4, "A card, mixed.json".to_owned())
            ]
        );
        // What was never made has no column.
        assert_eq!(grid.columns, ["linear", "mesa", "scale"]);
        assert!(matches!(grid.cells[3][1], Tile::Bad(_)) && grid.cells[3][0] == Tile::NotRun);
        assert!(
            picture.alt.contains("6 checks within what is allowed, 2 not"),
            "{}",
            picture.alt
        );
        let svg = picture.svg(Place::Page);
        assert!(svg.contains(">A card, mixed.json</text>"), "{svg}");
    }

    #[test]
    fn what_failed_or_was_not_made_is_said() {
        let material = Material {
            checks: vec![file("f32.json")],
            ..Material::default()
        };
        assert_eq!(
            failures(&material),
            [
                "A card: coop, mesa odd (y): failed, error 0.400, allowed 1.00e-5",
                "A card: as chosen, fill large: not made, no room",
                "A card: mesa/coop f16 is not used, its own test failed: o is off by 2.2e-1",
            ]
        );
    }
}
