//! A configuration that fits a file: which of its columns are numbers, which one holds labels, and whether rows are images.

use std::io::{BufReader, Cursor};
use std::path::Path;

use super::error::{DataError, FileProblem};
use super::source::{self, Format, Kind, Source};
use super::{DataSet, DataSetConfig, at, csv, npy};

/// What a column or an array of labels is usually called.
const LABEL_NAMES: [&str; 7] = ["label", "labels", "target", "targets", "class", "species", "y"];

impl DataSetConfig {
    /// A configuration for this file, and the file's content under it.
    ///
    /// Columns of text are left out. The labels are the column (or array) that has one of the usual names, else the only
    /// column of text; for MNIST's images the file of labels beside them. Rows of two axes are images.
    ///
    /// # Errors
    /// Those of [`DataSet::load`].
    pub fn fitting(path: &Path) -> Result<(Self, DataSet), DataError> {
        let mut config = Self::of_file(path);
        config.describe().map_err(at(path))?;
        let data = DataSet::load(&config)?;
        if let [height, width] = data.row_shape[..]
            && height.min(width) > 1
        {
            config.image_shape = Some([height, width]);
        }
        Ok((config, data))
    }

    /// Fills in `columns` and `label`.
    fn describe(&mut self) -> Result<(), FileProblem> {
        let file = source::open(&self.path)?;
        let Format { kind, gzip } = Format::of(&self.path)?;
        match kind {
            Kind::Csv => self.describe_columns(csv::survey(&mut Source::file(file, gzip)?, None)?),
            Kind::Tsv => self.describe_columns(csv::survey(&mut Source::file(file, gzip)?, Some(b'\t'))?),
            Kind::Npz => {
                let names = if gzip {
                    npy::array_names(Cursor::new(Source::file(file, true)?.rest()?))
                } else {
                    npy::array_names(BufReader::new(file))
                }?;
                self.label = usual_label(&names);
            }
            Kind::Idx => {
                let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let labels = name.replace("images", "labels").replace("idx3", "idx1");
                let there = labels != name && self.path.with_file_name(&labels).is_file();
                self.label = there.then_some(labels);
            }
            Kind::Npy => {}
        }
        Ok(())
    }

    fn describe_columns(&mut self, columns: Vec<(String, bool)>) {
        let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        let texts: Vec<&String> = columns.iter().filter(|(_, numeric)| !numeric).map(|(name, _)| name).collect();
        // Columns called x and y are points in the plane, while an array y beside an array x holds labels.
        let plane = names.len() == 2 && names.iter().any(|name| name.eq_ignore_ascii_case("x"));
        self.label = usual_label(&names).filter(|_| !plane).or_else(|| match texts[..] {
            [only] => Some(only.clone()),
            _ => None,
        });
        let is_label = |name: &String| self.label.as_ref() == Some(name);
        let left_out = columns.iter().any(|(name, numeric)| !is_label(name) && (!numeric || name.is_empty()));
        if left_out {
            let kept = columns.into_iter().filter(|(name, numeric)| *numeric && !name.is_empty() && !is_label(name));
            self.columns = Some(kept.map(|(name, _)| name).collect());
        }
    }
}

/// The name that is usual for labels, where there is something beside it.
fn usual_label(names: &[String]) -> Option<String> {
    let called = |usual: &str| names.iter().find(|name| name.eq_ignore_ascii_case(usual));
    LABEL_NAMES.into_iter().find_map(called).filter(|_| names.len() > 1).cloned()
}
