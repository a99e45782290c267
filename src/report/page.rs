//! The page: one file that needs no other.

use super::cards::{self, CardPicture};
use super::chart::Chart;
use super::groups::Groups;
use super::head::{Head, unique};
use super::heat::{self, Picture};
use super::rows::{self, Rows};
use super::run::Run;
use super::source::Material;
use super::style::Style;
use super::svg::{self, Place};
use super::table::Table;
use super::{atlas, costs, difficulty, interactive, learning, pack, thin, times};
use crate::sweep::DETAILS_FILE;
use askama::Template;
use serde_json::{Map, Value};

/// Largest page.
const MOST_BYTES: usize = 8_000_000;
/// Size of a chart on the page, in pixels.
const CHART: [f64; 2] = [560.0, 320.0];

/// Where a figure's numbers come from.
#[derive(Debug, Clone, Default)]
struct Source {
    summary: String,
    /// Variants, with place and seed of their runs.
    groups: Vec<(String, Vec<(usize, u64)>)>,
    files: Vec<String>,
    adapters: String,
    commits: String,
    commands: Vec<String>,
}

/// A figure as the template sees it.
struct Figure {
    id: String,
    title: String,
    alt: String,
    model: String,
    svg: String,
    thinned: bool,
    wide: bool,
    source: Source,
}

/// A button of the legend.
struct Legend {
    name: String,
    color: usize,
    marker: String,
}

#[derive(Template)]
#[template(path = "report/page.html")]
struct Page {
    version: &'static str,
    commit: &'static str,
    css: &'static str,
    js: &'static str,
    most_points: usize,
    head: Head,
    contents: Vec<(&'static str, &'static str)>,
    legend: Vec<Legend>,
    table: Table,
    table_source: Source,
    not_selected: usize,
    breaks: Vec<Figure>,
    costs: Vec<Figure>,
    learning: Vec<Figure>,
    gates: Vec<Figure>,
    confusion: Vec<Figure>,
    speed: Vec<Figure>,
    steps: Vec<[String; 8]>,
    ops: Vec<[String; 9]>,
    atlas: Vec<Figure>,
    failures: Vec<String>,
    unexplained: Option<[String; 2]>,
    rows: Rows,
    metrics_stride: usize,
    command: String,
    repeat: Vec<String>,
    configs: Vec<(String, String)>,
    bench_method: String,
    data_all: String,
    data_metrics: String,
    data_charts: String,
    plotly: String,
}

/// The page of what was gathered, as HTML. `command` is how it was asked for.
pub fn page(material: &Material, command: &str) -> String {
    let groups = Groups::new(material);
    let trace = |runs: &[usize]| source(runs, &groups, material);
    let charts = [
        difficulty::charts(&groups, material),
        costs::charts(&groups, material),
        learning::charts(&groups, material),
    ];
    let mut specs = Map::new();
    for chart in charts.iter().flatten() {
        specs.insert(chart.id.clone(), interactive::chart(chart));
    }
    let plot = |chart: &Chart| Figure {
        id: chart.id.clone(),
        title: chart.title.clone(),
        alt: chart.alt.clone(),
        model: String::new(),
        svg: svg::chart(chart, CHART[0], CHART[1], Place::Page),
        thinned: chart.thinned,
        wide: false,
        source: trace(&chart.runs),
    };
    let [breaks, costs, learning] = charts.map(|charts| charts.iter().map(plot).collect::<Vec<Figure>>());
    let picture = |picture: &Picture| Figure {
        id: picture.id.clone(),
        title: picture.title.clone(),
        alt: picture.alt.clone(),
        model: picture.model.clone(),
        svg: sized(picture.grid.svg(&picture.title, &picture.alt, Place::Page)),
        thinned: false,
        wide: false,
        source: trace(&picture.runs),
    };
    let card = |picture: &CardPicture| Figure {
        id: picture.id.clone(),
        title: picture.title.clone(),
        alt: picture.alt.clone(),
        model: String::new(),
        svg: sized(picture.svg(Place::Page)),
        thinned: false,
        wide: true,
        source: Source {
            summary: match picture.files.len() {
                1 => "one file".to_owned(),
                n => format!("{n} files"),
            },
            files: picture.files.clone(),
            ..Source::default()
        },
    };
    let benches = material.benches.iter();
    let names = cards::card_names(benches.map(|file| (file.report.device.clone(), file.path.as_path())));
    let table = Table::new(&groups, material);
    let in_table: Vec<usize> = groups.cells.iter().flat_map(|cell| cell.runs.clone()).collect();
    let mut page = Page {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("SELECTIV_COMMIT"),
        css: include_str!("../../templates/report/page.css"),
        js: include_str!("../../templates/report/page.js"),
        most_points: thin::MOST_POINTS,
        head: Head::new(&groups, material),
        contents: Vec::new(),
        legend: legend(&groups),
        table,
        table_source: trace(&in_table),
        not_selected: groups.not_selected,
        breaks,
        costs,
        learning,
        gates: heat::gates(&groups, material).iter().map(picture).collect(),
        confusion: heat::confusion(&groups, material).iter().map(picture).collect(),
        speed: cards::pictures(material).iter().map(card).collect(),
        steps: times::steps(material, &names),
        ops: times::ops(material, &names),
        atlas: atlas::picture(material).iter().map(card).collect(),
        failures: atlas::failures(material),
        unexplained: unexplained(material),
        rows: Rows::new(&groups, material),
        metrics_stride: 1,
        command: command.to_owned(),
        repeat: repeat(material),
        configs: configs(material),
        bench_method: bench_method(material),
        data_all: pack::packed(rows::json(material).to_string().as_bytes()),
        data_metrics: String::new(),
        data_charts: pack::packed(Value::Object(specs).to_string().as_bytes()),
        plotly: pack::packed(interactive::script().as_bytes()),
    };
    page.contents = contents(&page);
    // What room is left is for the curves.
    let room = MOST_BYTES.saturating_sub(render(&page).len());
    loop {
        page.data_metrics = pack::packed(&rows::metrics_csv(material, page.metrics_stride));
        if page.data_metrics.len() <= room || page.metrics_stride > 1 << 16 {
            break;
        }
        // What is left shrinks about as the number of lines does.
        page.metrics_stride *= (page.data_metrics.len() / room.max(1) + 1).clamp(2, 64);
    }
    render(&page)
}

fn render(page: &Page) -> String {
    page.render().expect("writing to a string cannot fail")
}

/// With the size of its drawing, so that a small picture stays small.
fn sized(svg: String) -> String {
    let size = svg
        .split_once("viewBox=\"0 0 ")
        .and_then(|(_, rest)| rest.split_once('"'))
        .and_then(|(size, _)| size.split_once(' '));
    match size {
        Some((width, height)) => svg.replacen(
            "<svg ",
            &format!("<svg width=\"{width}\" height=\"{height}\" "),
            1,
        ),
        None => svg,
    }
}

fn contents(page: &Page) -> Vec<(&'static str, &'static str)> {
    let sections = [
        ("table", "Table", page.table.rows.is_empty()),
        ("breaks", "Where it breaks", page.breaks.is_empty()),
        ("costs", "What it costs", page.costs.is_empty()),
        ("learning", "How it learned", page.learning.is_empty()),
        ("gates", "Gates", page.gates.is_empty()),
        ("confusion", "Confusion", page.confusion.is_empty()),
        ("speed", "Speed", page.speed.is_empty()),
        ("atlas", "Atlas", page.atlas.is_empty()),
        ("runs", "All runs", page.rows.rows.is_empty()),
        ("repeat", "Repeat", false),
    ];
    sections
        .into_iter()
        .filter(|(.., empty)| !empty)
        .map(|(id, name, _)| (id, name))
        .collect()
}

fn legend(groups: &Groups) -> Vec<Legend> {
    let models = unique(groups.variants.iter().map(|variant| variant.model.clone()));
    let button = |name: String| {
        let style = Style::of(&name);
        let mut marker = String::new();
        svg::marker(&mut marker, style, [7.0, 7.0], false, &name);
        Legend {
            name,
            color: style.color,
            marker,
        }
    };
    models.into_iter().map(button).collect()
}

fn source(runs: &[usize], groups: &Groups, material: &Material) -> Source {
    let mut found = Source::default();
    for cell in &groups.cells {
        let here = cell.runs.iter().filter(|i| runs.contains(i));
        let here: Vec<(usize, u64)> = here.map(|&i| (i, material.runs[i].config.train.seed)).collect();
        if !here.is_empty() {
            let (variant, setting) = (
                groups.variant(cell).label(),
                groups.settings[cell.setting].label(),
            );
            found.groups.push((format!("{variant} on {setting}"), here));
        }
    }
    let all = || runs.iter().map(|&i| &material.runs[i]);
    let joined = |value: fn(&Run) -> Option<String>| unique(all().filter_map(value)).join(", ");
    let n = found.groups.iter().map(|(_, runs)| runs.len()).sum::<usize>();
    found.summary = format!("{n} run{}", if n == 1 { "" } else { "s" });
    found.adapters = joined(Run::device);
    found.commits = joined(|run| run.commit.clone());
    let of_sweep = |run: &Run| {
        material
            .sweeps
            .iter()
            .find(|sweep| run.folder.starts_with(&sweep.path))
    };
    let command = |run: &Run| match of_sweep(run) {
        Some(sweep) => format!("selectiv sweep {} --json", sweep.path.display()),
        None => run.command(),
    };
    found.commands = unique(all().map(command));
    found
}

/// What the page cannot show of runs that no sweep made, and a command that prints it.
fn unexplained(material: &Material) -> Option<[String; 2]> {
    let without: Vec<&Run> = material
        .runs
        .iter()
        .filter(|run| run.done().is_some() && run.details.is_none())
        .collect();
    let first = without.first()?.folder.display();
    let runs = match without.len() {
        1 => "One run that is done has".to_owned(),
        n => format!("{n} runs that are done have"),
    };
    let text = format!(
        "{runs} no {DETAILS_FILE}: sweeps write it, train alone does not. What is shown by gap, position and distance, of gates \
         and of confusion leaves them out."
    );
    Some([text, format!("selectiv eval {first} --by position")])
}

fn repeat(material: &Material) -> Vec<String> {
    let sweeps = material.sweeps.iter();
    let mut lines: Vec<String> = sweeps
        .map(|sweep| format!("selectiv sweep {}", sweep.path.display()))
        .collect();
    let in_sweep = |run: &&Run| {
        material
            .sweeps
            .iter()
            .any(|sweep| run.folder.starts_with(&sweep.path))
    };
    let alone = material.runs.iter().filter(|run| !in_sweep(run));
    lines.extend(alone.map(|run| format!("{} --resume", run.command())));
    lines
}

/// The configuration of the first run of each task and model.
fn configs(material: &Material) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for run in &material.runs {
        let name = format!("{}, {}", run.task, run.model);
        if found.iter().all(|(known, _)| *known != name) {
            found.push((name, run.config.to_toml(&format!("of {}", run.id))));
        }
    }
    found
}

fn bench_method(material: &Material) -> String {
    if material.benches.is_empty() {
        return String::new();
    }
    "How times were made: each is the median of the runs that its note names, after a warm-up; the roof of a card is what \
     it was measured to copy and to multiply in the same call, and what an op must at least move and compute follows from \
     its own formula."
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::material;
    use super::*;

    #[test]
    fn the_page_holds_itself_and_nothing_else() {
        let material = material();
        let html = page(&material, "selectiv report grid --out page.html");
        for part in [
            "18</b> runs <span class=\"status-done\">done",
            "best is gated_delta_net with 90.0 ± 1.2 %",
            "id=\"main-table\"",
            "data-chart=\"by-complexity-1\"",
            "data-chart=\"cost-state-2\"",
            "data-chart=\"learning-loss-1\"",
            "id=\"f-gate-decay-1-1\"",
            "id=\"f-letters-1\"",
            "id=\"runs-table\"",
            "selectiv report grid --out page.html",
            "selectiv sweep grid",
            "Student's t",
        ] {
            assert!(html.contains(part), "no {part}");
        }
        // Nothing is loaded from elsewhere.
        for part in ["<script src", "<link rel=\"stylesheet", "@import", "url("] {
            assert!(!html.contains(part), "{part}");
        }
        assert!(html.len() < MOST_BYTES / 2, "{}", html.len());
    }

    #[test]
    fn runs_that_only_train_made_are_named_with_what_is_missing() {
        let mut material = material();
        assert!(!page(&material, "selectiv report grid").contains("id=\"unexplained\""));
        for run in &mut material.runs[..2] {
            run.details = None;
        }
        let html = page(&material, "selectiv report grid");
        assert!(html.contains("2 runs that are done have no explained.json"));
        let folder = material.runs[0].folder.display();
        assert!(html.contains(&format!("selectiv eval {folder} --by position")));
    }

    #[test]
    fn names_from_outside_cannot_become_markup() {
        let mut material = material();
        for run in &mut material.runs {
            run.task = "<script>alert(1)</script>".to_owned();
        }
        let html = page(&material, "selectiv report '<b>'");
        assert!(!html.contains("<script>alert") && !html.contains("'<b>'"));
    }

    #[test]
    fn two_hundred_long_runs_stay_below_eight_megabytes() {
        let mut material = material();
        let template = material.runs.clone();
        material.runs.clear();
        let mut noise = 1_u64;
        for i in 0..204 {
            let mut run = template[i % template.len()].clone();
            run.id = format!("{}-{i}", run.id);
            run.folder = run.folder.with_file_name(&run.id);
            run.config.train.seed = i as u64;
            let line = run.metrics[0].clone();
            run.metrics = (1..=1500)
                .map(|step| {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let mut line = line.clone();
                    line.step = step;
                    line.tokens = Some(step * 25_600);
                    line.loss = 1.0 + (noise >> 40) as f64 * 1e-8;
                    line.grad_norm = (noise >> 30) as f64 * 1e-9;
                    line.accuracy = step.is_multiple_of(10).then_some((noise >> 44) as f64 * 1e-6);
                    line
                })
                .collect();
            material.runs.push(run);
        }
        let html = page(&material, "selectiv report grid");
        assert!(html.len() < MOST_BYTES + 1000, "{}", html.len());
        assert!(
            html.contains("th logged line"),
            "the page does not say that curves are thinned"
        );
    }
}
