//! Every figure as a file of its own, SVG and PNG.

use super::groups::Groups;
use super::source::Material;
use super::svg::{self, Place};
use super::{atlas, cards, costs, difficulty, heat, learning};
use crate::error::{Error, Result, UserError};
use crate::train::records::atomic;
use resvg::{tiny_skia, usvg};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Size of a chart, in pixels of the SVG.
const CHART: [f64; 2] = [640.0, 400.0];
/// Pixels of the PNG for one of the SVG.
const DENSITY: f32 = 2.0;

/// A figure.
struct Plot {
    id: String,
    svg: String,
}

/// Writes `NAME.svg` and `NAME.png` of every figure into a folder and returns their paths. `say` hears of each.
///
/// # Errors
/// [`Error::Io`]; [`UserError::Folder`] if the folder's name is taken by something else.
pub fn plots(material: &Material, folder: &Path, say: &mut dyn FnMut(&str)) -> Result<Vec<PathBuf>> {
    if folder.exists() && !folder.is_dir() {
        let reason = "is no folder; --plots needs one".to_owned();
        let path = folder.to_owned();
        return Err(UserError::Folder { path, reason }.into());
    }
    std::fs::create_dir_all(folder).map_err(|source| Error::Io {
        action: "create",
        path: folder.to_owned(),
        source,
    })?;
    let options = options();
    let mut written = Vec::new();
    for plot in all(material) {
        say(&plot.id);
        let path = folder.join(format!("{}.svg", plot.id));
        atomic::replace(&path, |out| out.write_all(plot.svg.as_bytes()))?;
        written.push(path);
        let path = folder.join(format!("{}.png", plot.id));
        let png = png(&plot.svg, &options);
        atomic::replace(&path, |out| out.write_all(&png))?;
        written.push(path);
    }
    Ok(written)
}

fn all(material: &Material) -> Vec<Plot> {
    let groups = Groups::new(material);
    let charts = [
        difficulty::charts(&groups, material),
        costs::charts(&groups, material),
        learning::charts(&groups, material),
    ];
    let mut plots: Vec<Plot> = charts
        .iter()
        .flatten()
        .map(|chart| Plot {
            id: chart.id.clone(),
            svg: svg::chart(chart, CHART[0], CHART[1], Place::Alone),
        })
        .collect();
    let pictures = heat::gates(&groups, material)
        .into_iter()
        .chain(heat::confusion(&groups, material));
    plots.extend(pictures.map(|picture| Plot {
        svg: picture.grid.svg(&picture.title, &picture.alt, Place::Alone),
        id: picture.id,
    }));
    let of_cards = cards::pictures(material)
        .into_iter()
        .chain(atlas::picture(material));
    plots.extend(of_cards.map(|picture| Plot {
        svg: picture.svg(Place::Alone),
        id: picture.id,
    }));
    plots
}

/// With the font that the program carries: a machine without fonts draws text too.
fn options() -> usvg::Options<'static> {
    let mut options = usvg::Options {
        font_family: "Ubuntu".to_owned(),
        ..usvg::Options::default()
    };
    let fonts = Arc::get_mut(&mut options.fontdb).expect("nobody else has it yet");
    fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    options
}

fn png(svg: &str, options: &usvg::Options<'_>) -> Vec<u8> {
    let tree = usvg::Tree::from_str(svg, options).expect("our own SVG is well formed");
    let size = tree.size();
    let pixels = |length: f32| (DENSITY * length).ceil().max(1.0) as u32;
    let mut image = tiny_skia::Pixmap::new(pixels(size.width()), pixels(size.height()))
        .expect("a picture of some thousand pixels has room");
    let scale = tiny_skia::Transform::from_scale(DENSITY, DENSITY);
    resvg::render(&tree, scale, &mut image.as_mut());
    image.encode_png().expect("writing to memory cannot fail")
}

#[cfg(test)]
mod tests {
    use super::super::testing::material;
    use super::*;

    #[test]
    fn every_figure_is_there_twice_and_has_ink() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("plots");
        let mut said = 0;
        let written = plots(&material(), &folder, &mut |_| said += 1).unwrap();
        assert_eq!(written.len(), 2 * said);
        let svg = std::fs::read_to_string(folder.join("by-complexity-1.svg")).unwrap();
        assert!(svg.contains("Accuracy by complexity") && svg.contains("test accuracy [%]"));
        let png = std::fs::read(folder.join("by-complexity-1.png")).unwrap();
        let image = tiny_skia::Pixmap::decode_png(&png).unwrap();
        assert_eq!((image.width(), image.height()), (1280, 800));
        // Lines, text and the blue of the Gated DeltaNet on white.
        let count = |test: &dyn Fn(u8, u8, u8) -> bool| {
            let pixels = image.pixels().iter();
            pixels.filter(|p| test(p.red(), p.green(), p.blue())).count()
        };
        assert!(count(&|r, g, b| (r, g, b) == (255, 255, 255)) > 700_000);
        assert!(count(&|r, g, b| r < 20 && (100..130).contains(&g) && b > 160) > 500);
        // The title: dark pixels at the top.
        let top = image.pixels()[..1280 * 60].iter();
        assert!(top.filter(|p| p.red() < 100).count() > 300);
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = plots(&material(), file.path(), &mut |_| ()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
