//! The documentation held to itself and to the program: what it cites exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The pages whose section numbers comments cite.
const CITED: [&str; 2] = ["models.md", "tasks.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All text files below the given folders of the repository.
fn texts(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut open: Vec<PathBuf> = folders.iter().map(|f| root().join(f)).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if ["rs", "wgsl", "md", "toml"]
            .iter()
            .any(|e| path.extension().is_some_and(|x| x == *e))
        {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
        }
    }
    assert!(found.len() > 5, "only {} files in {folders:?}", found.len());
    found
}

/// The numbers that a page's headings begin with: `4.2` of `### 4.2 Delta rule`, `4` of `## 4. The ops`.
fn sections(page: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("docs").join(page)).unwrap();
    let number = |line: &str| {
        let first = line.trim_start_matches('#').split_whitespace().next()?;
        let number = first.trim_end_matches('.');
        number
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| number.to_owned())
    };
    text.lines()
        .filter(|l| l.starts_with('#'))
        .filter_map(number)
        .collect()
}

/// What a citation names, from the text behind the page's name: `4.1`, `4.4`, `4.6` of ` 4.1, 4.4 to 4.6; golden`.
fn cited(mut rest: &str) -> Vec<String> {
    let mut numbers = Vec::new();
    while let Some(number) = [" ", ", ", " to ", " and "].iter().find_map(|lead| {
        let behind = rest.strip_prefix(lead)?;
        let end = behind
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(behind.len());
        let number = behind[..end].trim_end_matches('.');
        (!number.is_empty()).then_some((number, &behind[number.len()..]))
    }) {
        numbers.push(number.0.to_owned());
        rest = number.1;
    }
    numbers
}

/// The pages that a line names, each with what stands before and behind it.
fn pages(line: &str) -> impl Iterator<Item = (&str, Option<char>, &str)> {
    line.match_indices(".md").map(|(at, end)| {
        let in_name = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        let start = line[..at]
            .rfind(|c| !in_name(c))
            .map_or(0, |i| i + line[i..].chars().next().map_or(1, char::len_utf8));
        let behind = at + end.len();
        (
            &line[start..behind],
            line[..start].chars().next_back(),
            &line[behind..],
        )
    })
}

#[test]
fn every_cited_section_exists() {
    let known = CITED.map(sections);
    let (mut count, mut faults) = (0, Vec::new());
    for (path, text) in texts(&["src", "shaders", "tests", "docs", "tasks", "examples"]) {
        if path == Path::new("tests/all/docs.rs") {
            continue;
        }
        for (i, line) in text.lines().enumerate() {
            for (page, before, behind) in pages(line) {
                let place = format!("{}:{}", path.display(), i + 1);
                let linked = behind.strip_prefix(&format!("]({page})")).unwrap_or(behind);
                let numbers = cited(linked);
                let Some(known) = CITED.iter().position(|p| *p == page).map(|i| &known[i]) else {
                    if !numbers.is_empty() {
                        faults.push(format!("{place}: {page} is no page whose sections have numbers"));
                    }
                    continue;
                };
                count += numbers.len();
                let is_a_file = before.is_some_and(|c| "/([".contains(c)) && !behind.starts_with(' ');
                if numbers.is_empty() && !is_a_file {
                    faults.push(format!(
                        "{place}: write `{page} 4.2`, the number behind the name: {line}"
                    ));
                }
                let missing = numbers.iter().filter(|n| !known.contains(*n));
                faults.extend(missing.map(|n| format!("{place}: docs/{page} has no section {n}")));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 100, "only {count} citations were recognised");
}

#[test]
fn every_link_between_pages_leads_to_a_file() {
    let mut pages = texts(&["docs"])
        .into_iter()
        .filter(|(p, _)| p.extension().unwrap() == "md")
        .collect::<Vec<_>>();
    for name in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        pages.push((name.into(), std::fs::read_to_string(root().join(name)).unwrap()));
    }
    let mut faults = Vec::new();
    for (path, text) in pages {
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split([')', ' ']).next().unwrap();
            let file = link.split('#').next().unwrap();
            if file.is_empty() || link.contains("://") {
                continue;
            }
            if !root().join(&path).parent().unwrap().join(file).exists() {
                faults.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "links to nothing:\n{}", faults.join("\n"));
}
