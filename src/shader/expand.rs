//! Imports, conditions, constants and unrolled loops written into a shader's text.
//!
//! A line that starts with `#` is a directive:
//! - `#import lib/grid` puts that file here, once;
//! - `#if EXPR` .. `#else` .. `#endif` keeps or drops lines;
//! - `#for i in A..B` .. `#end` repeats lines with `i` = A .. B - 1 (matrix fragments cannot sit in arrays);
//! - `#copied` before a function gives each of its calls a copy of its own, `name_0`, `name_1` .. (NVIDIA's compiler
//!   got the matrix fragments wrong in a function with many calls, which it seems not to inline).
//!
//! `{EXPR}` in any other line is replaced by its value when EXPR consists of known names, integers and operators.
//! Names are loop variables and the file's constants: `const NAME: u32 = 64;` (also i32, bool, f32) and `alias NAME = f32;`
//! at the start of a line, whose values the host may replace. An integer or bool has to have a value; types and f32 have
//! none that a condition could ask for. The storage type of a binding `x` is `alias t_x`.

use super::embedded::SOURCES;
use super::{Kernel, ShaderError, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The text of a kernel with everything written in.
pub(super) fn expand(kernel: &Kernel) -> Result<String, ShaderError> {
    let mut e = Expander {
        kernel,
        names: BTreeMap::new(),
        constants: BTreeSet::new(),
        imported: Vec::new(),
        out: String::new(),
    };
    let lines: Vec<(String, usize, &str)> = e.import(kernel.path)?;
    e.block(&lines)?;
    e.out = copied(&e.out);
    let coop = e.out.contains("coop_mat");
    for (wanted, enable) in [
        (coop, "enable wgpu_cooperative_matrix;\n"),
        (
            coop || kernel.consts.values().any(|v| *v == Value::Type("f16")),
            "enable f16;\n",
        ),
    ] {
        if wanted && !e.out.contains(enable) {
            e.out.insert_str(0, enable);
        }
    }
    for name in kernel.consts.keys() {
        if !e.constants.contains(name) {
            return Err(e.error(kernel.path, 0, format!("has no constant {name}")));
        }
    }
    Ok(e.out)
}

/// Stands before a function that each of its calls gets a copy of, until [`copied`] has made them.
const COPIED: &str = "#copied\n";

/// The text with a copy of each function marked as [`COPIED`] for each of its calls.
fn copied(text: &str) -> String {
    let Some((before, rest)) = text.split_once(COPIED) else {
        return text.to_owned();
    };
    let end = rest.find("\n}\n").map_or(rest.len(), |at| at + 3);
    let (function, after) = rest.split_at(end);
    let head = function.split('(').next().expect("split gives at least one part");
    let name = head.trim_start_matches("fn ");
    let (call, mut out, mut calls) = (format!("{name}("), String::new(), 0);
    let others = format!("{before}{after}");
    let mut left = others.as_str();
    while let Some(at) = left.find(&call) {
        let own = !left[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        out.push_str(&left[..at]);
        out.push_str(name);
        if own {
            write!(out, "_{calls}").expect("a String takes everything");
            calls += 1;
        }
        out.push('(');
        left = &left[at + call.len()..];
    }
    out.push_str(left);
    for i in 0..calls {
        out.push_str(&function.replacen(head, &format!("{head}_{i}"), 1));
    }
    copied(&out)
}

struct Expander<'a> {
    kernel: &'a Kernel,
    /// What has an integer value.
    names: BTreeMap<String, i64>,
    /// Every constant met, with or without one.
    constants: BTreeSet<String>,
    imported: Vec<String>,
    out: String,
}

type Line = (String, usize, &'static str);

impl Expander<'_> {
    fn error(&self, file: &str, line: usize, message: String) -> ShaderError {
        ShaderError {
            file: file.to_owned(),
            line,
            message,
        }
    }

    /// The lines of a file with its imports in place.
    fn import(&mut self, path: &str) -> Result<Vec<Line>, ShaderError> {
        self.imported.push(path.to_owned());
        let source = SOURCES.iter().find(|(name, _)| *name == path);
        let (_, text) = source.ok_or_else(|| self.error(path, 0, "no such shader".to_owned()))?;
        let mut lines = Vec::new();
        for (i, line) in text.lines().enumerate() {
            match line.trim_start().strip_prefix("#import ") {
                Some(name) if self.imported.iter().any(|n| n == name.trim()) => {}
                Some(name) => lines.extend(self.import(name.trim())?),
                None => lines.push((path.to_owned(), i + 1, line)),
            }
        }
        Ok(lines)
    }

    fn block(&mut self, lines: &[Line]) -> Result<(), ShaderError> {
        let mut i = 0;
        while i < lines.len() {
            let (file, number, line) = &lines[i];
            let directive = line.trim_start();
            if let Some(condition) = directive.strip_prefix("#if ") {
                let (middle, end) = self.matching(lines, i, "#if", "#endif")?;
                let yes = self.eval(condition).map_err(|m| self.error(file, *number, m))? != 0;
                match (yes, middle) {
                    (true, middle) => self.block(&lines[i + 1..middle.unwrap_or(end)])?,
                    (false, Some(middle)) => self.block(&lines[middle + 1..end])?,
                    (false, None) => {}
                }
                i = end + 1;
            } else if let Some(header) = directive.strip_prefix("#for ") {
                let (_, end) = self.matching(lines, i, "#for", "#end")?;
                let (name, range) = header.split_once(" in ").unwrap_or((header, ""));
                let (from, to) = range.split_once("..").unwrap_or((range, ""));
                let from = self.eval(from).map_err(|m| self.error(file, *number, m))?;
                let to = self.eval(to).map_err(|m| self.error(file, *number, m))?;
                for value in from..to {
                    self.names.insert(name.trim().to_owned(), value);
                    self.block(&lines[i + 1..end])?;
                }
                self.names.remove(name.trim());
                i = end + 1;
            } else if directive == "#copied" {
                self.out.push_str(COPIED);
                i += 1;
            } else if directive.starts_with('#') {
                return Err(self.error(file, *number, format!("unknown directive {directive}")));
            } else {
                let constant = self.constant(line).map_err(|m| self.error(file, *number, m))?;
                let line = constant.unwrap_or_else(|| self.substitute(line));
                self.out.push_str(&line);
                self.out.push('\n');
                i += 1;
            }
        }
        Ok(())
    }

    /// Positions of `#else` (if any) and of the end of the block that opens at `start`.
    fn matching(
        &self,
        lines: &[Line],
        start: usize,
        open: &str,
        close: &str,
    ) -> Result<(Option<usize>, usize), ShaderError> {
        let (mut depth, mut middle) = (0, None);
        for (i, (_, _, line)) in lines.iter().enumerate().skip(start) {
            let word = line.split_whitespace().next().unwrap_or("");
            if word == open {
                depth += 1;
            } else if word == close {
                depth -= 1;
                if depth == 0 {
                    return Ok((middle, i));
                }
            } else if word == "#else" && depth == 1 {
                middle = Some(i);
            }
        }
        Err(self.error(&lines[start].0, lines[start].1, format!("{open} without {close}")))
    }

    /// A constant's line with the host's value, its value noted for conditions; `None` for any other line.
    fn constant(&mut self, line: &str) -> Result<Option<String>, String> {
        let Some((keyword @ ("const" | "alias"), rest)) = line.split_once(' ') else {
            return Ok(None);
        };
        let parts = rest
            .split_once('=')
            .and_then(|(left, right)| Some((left, right.split_once(';')?)));
        let (left, (right, comment)) =
            parts.ok_or_else(|| format!("{keyword} without `= VALUE;` in one line"))?;
        let (name, kind) = left.split_once(':').unwrap_or((left, ""));
        let (name, kind) = (name.trim().to_owned(), kind.trim());
        let text = match self.kernel.consts.get(&name) {
            Some(value) => value.to_string(),
            None => self.substitute(right.trim()),
        };
        let value = match text.as_str() {
            "true" => Ok(1),
            "false" => Ok(0),
            other => self.eval(other),
        };
        match value {
            Ok(value) => {
                self.names.insert(name.clone(), value);
            }
            Err(reason) if matches!(kind, "u32" | "i32" | "bool") => {
                return Err(format!("{name} = {text}: {reason}"));
            }
            // A later constant of that name hides an earlier one.
            Err(_) => {
                self.names.remove(&name);
            }
        }
        self.constants.insert(name);
        Ok(Some(format!("{keyword} {left}= {text};{comment}")))
    }

    fn substitute(&self, line: &str) -> String {
        let mut out = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(open) = rest.find('{') {
            let (before, tail) = rest.split_at(open);
            out.push_str(before);
            let value = tail.find('}').and_then(|close| {
                let expr = &tail[1..close];
                (!expr.trim().is_empty())
                    .then(|| self.eval(expr).ok().map(|v| (v, close)))
                    .flatten()
            });
            match value {
                Some((value, close)) => {
                    write!(out, "{value}").expect("writing to a string");
                    rest = &tail[close + 1..];
                }
                None => {
                    out.push('{');
                    rest = &tail[1..];
                }
            }
        }
        out + rest
    }

    fn eval(&self, text: &str) -> Result<i64, String> {
        let mut p = Parser {
            text: text.as_bytes(),
            at: 0,
            names: &self.names,
        };
        let value = p.binary(0)?;
        p.space();
        if p.at < p.text.len() {
            return Err(format!("cannot read `{text}`"));
        }
        Ok(value)
    }
}

/// Integer expressions with C's operators and precedence.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    names: &'a BTreeMap<String, i64>,
}

/// Operators by rising precedence, the longer spelling first.
const LEVELS: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["==", "!=", "<=", ">=", "<", ">"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Parser<'_> {
    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.space();
        let found = self.text[self.at..].starts_with(token.as_bytes());
        if found {
            self.at += token.len();
        }
        found
    }

    fn binary(&mut self, level: usize) -> Result<i64, String> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut a = self.binary(level + 1)?;
        while let Some(op) = operators.iter().find(|op| self.eat(op)) {
            let b = self.binary(level + 1)?;
            a = match *op {
                "||" => i64::from(a != 0 || b != 0),
                "&&" => i64::from(a != 0 && b != 0),
                "==" => i64::from(a == b),
                "!=" => i64::from(a != b),
                "<=" => i64::from(a <= b),
                ">=" => i64::from(a >= b),
                "<" => i64::from(a < b),
                ">" => i64::from(a > b),
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                _ if b == 0 => return Err("division by zero".to_owned()),
                "/" => a / b,
                _ => a % b,
            };
        }
        Ok(a)
    }

    fn unary(&mut self) -> Result<i64, String> {
        if self.eat("!") {
            return Ok(i64::from(self.unary()? == 0));
        }
        if self.eat("(") {
            let value = self.binary(0)?;
            return if self.eat(")") {
                Ok(value)
            } else {
                Err("missing )".to_owned())
            };
        }
        self.space();
        let start = self.at;
        while self
            .text
            .get(self.at)
            .is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_')
        {
            self.at += 1;
        }
        let word = std::str::from_utf8(&self.text[start..self.at]).expect("ASCII");
        if word.is_empty() {
            return Err("a value is missing".to_owned());
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return word
                .trim_end_matches('u')
                .parse()
                .map_err(|_| format!("`{word}` is not an integer"));
        }
        self.names
            .get(word)
            .copied()
            .ok_or_else(|| format!("unknown name `{word}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(lines: &str, consts: &[(&str, Value)]) -> Result<String, String> {
        let kernel = Kernel {
            path: "test",
            consts: consts.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect(),
        };
        let text: &'static str = Box::leak(lines.to_owned().into_boxed_str());
        let lines: Vec<Line> = text
            .lines()
            .enumerate()
            .map(|(i, l)| ("test".to_owned(), i + 1, l))
            .collect();
        let mut e = Expander {
            kernel: &kernel,
            names: BTreeMap::new(),
            constants: BTreeSet::new(),
            imported: Vec::new(),
            out: String::new(),
        };
        e.block(&lines).map_err(|e| e.to_string())?;
        Ok(copied(&e.out))
    }

    #[test]
    fn a_copied_function_is_one_for_each_call() {
        let text = "#copied\nfn f(x: u32) -> u32 {\n    return x;\n}\nlet a = f(1) + if(f(2));\n";
        assert_eq!(
            expand(text, &[]).unwrap(),
            "let a = f_0(1) + if(f_1(2));\nfn f_0(x: u32) -> u32 {\n    return x;\n}\n\
             fn f_1(x: u32) -> u32 {\n    return x;\n}\n"
        );
        assert_eq!(expand("#copied\nfn f() {\n}\nx\n", &[]).unwrap(), "x\n");
    }

    #[test]
    fn constants_conditions_and_loops() {
        let text = "const N: u32 = 4u; // size\nconst F: bool = false;\nalias t_x = f32;\n#if F\nyes\n#else\nno\n#endif\n\
                    #for i in 0..N/2\nlet a{i} = x[{i * 2 + 1}]; if c { break; }\n#end\n";
        assert_eq!(
            expand(text, &[]).unwrap(),
            "const N: u32 = 4u; // size\nconst F: bool = false;\nalias t_x = f32;\nno\n\
             let a0 = x[1]; if c { break; }\nlet a1 = x[3]; if c { break; }\n"
        );
        let set = [
            ("N", Value::U32(2)),
            ("F", Value::Bool(true)),
            ("t_x", Value::Type("f16")),
        ];
        assert_eq!(
            expand(text, &set).unwrap(),
            "const N: u32 = 2u; // size\nconst F: bool = true;\nalias t_x = f16;\nyes\n\
             let a0 = x[1]; if c { break; }\n"
        );
    }

    #[test]
    fn expressions() {
        let value = |e: &str| expand(&format!("v {{{e}}}"), &[]).unwrap();
        assert_eq!(value("1 + 2 * 3 - (4 - 1) % 2"), "v 6\n");
        assert_eq!(value("!(2 > 1) || 3 >= 3 && 1 != 2"), "v 1\n");
        assert_eq!(value("name"), "v {name}\n");
    }

    #[test]
    fn mistakes_name_their_line() {
        assert_eq!(
            expand("\n#if 1\n", &[]).unwrap_err(),
            "test.wgsl:2: #if without #endif"
        );
        assert_eq!(
            expand("#if X\n#endif", &[]).unwrap_err(),
            "test.wgsl:1: unknown name `X`"
        );
        for (text, why) in [
            ("const N: u32 = M / 2;", "N = M / 2: unknown name `M`"),
            (
                "const M: u32 = 0;\nconst N: u32 = 4 / M;",
                "N = 4 / M: division by zero",
            ),
            ("const N: i32 = 1 << 2;", "N = 1 << 2: a value is missing"),
            ("const N: bool = yes;", "N = yes: unknown name `yes`"),
            ("const N: u32 = 4", "const without `= VALUE;` in one line"),
            ("const F: f32 = 0.5;\n#if F\n#endif", "unknown name `F`"),
            ("alias t_x = f32;\n#if t_x\n#endif", "unknown name `t_x`"),
        ] {
            let (line, error) = (text.lines().count().min(2), expand(text, &[]).unwrap_err());
            assert_eq!(error, format!("test.wgsl:{line}: {why}"));
        }
        let float = expand(
            "const F: f32 = 0.5;\nalias t_x = vec4<f32>;",
            &[("F", Value::F32(2.0))],
        );
        assert_eq!(
            float.unwrap(),
            "const F: f32 = f32(2.0);\nalias t_x = vec4<f32>;\n"
        );
        assert_eq!(
            expand("#elif 1", &[]).unwrap_err(),
            "test.wgsl:1: unknown directive #elif 1"
        );
    }
}
