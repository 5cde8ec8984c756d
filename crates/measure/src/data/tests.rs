//! Files of every format: what is read, and the words for what cannot be.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use ndarray::{Array2, arr2};
use proptest::prelude::*;
use tempfile::TempDir;

use super::Fitting;
use super::write::{Format as OutputFormat, PointEncoder, Precision, write_points};
use super::*;

/// A folder that vanishes with the test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn load(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<DataSet, DataError> {
        read_points(&self.put(name, bytes), None, None)
    }

    /// The message for a file, without the path before it.
    fn refusal(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        self.refusal_with(name, bytes, |_| ())
    }

    fn refusal_with(&self, name: &str, bytes: impl AsRef<[u8]>, set: impl Fn(&mut DataSetConfig)) -> String {
        let mut config = DataSetConfig::of_file(self.put(name, bytes));
        set(&mut config);
        self.message(&config)
    }

    fn message(&self, config: &DataSetConfig) -> String {
        let message = DataSet::load(config).unwrap_err().to_string();
        assert!(!message.contains('\n'), "one line: {message}");
        message.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    npy_with_header(&format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n"), data)
}

fn npy_with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\x00", (header.len() as u16).to_le_bytes().as_slice(), header.as_bytes(), data].concat()
}

fn doubles(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn npz(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let stored = zip::write::FileOptions::default().compression_method(zip::CompressionMethod::Stored);
        archive.start_file(format!("{name}.npy"), stored).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn idx(code: u8, shape: &[u32], data: &[u8]) -> Vec<u8> {
    let lengths: Vec<u8> = shape.iter().flat_map(|length| length.to_be_bytes()).collect();
    [&[0, 0, code, shape.len() as u8], lengths.as_slice(), data].concat()
}

/// The decoder's own reason stands between these words.
fn assert_damaged_gzip(message: &str) {
    assert!(message.contains("gz: the gzip stream is damaged ("), "{message}");
    assert!(message.ends_with("); download or compress it again"), "{message}");
}

const IRIS: &str = "sepal,petal,species\n5.1,1.4,setosa\n7.0,4.7,versicolor\n6.3,6.0,virginica\n";

#[test]
fn the_digits_are_1797_images_of_64_pixels_with_ten_labels() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits.npz");
    let mut config = DataSetConfig::of_file(path);
    config.label = Some("label".to_owned());
    config.image_shape = Some([8, 8]);
    let digits = DataSet::load(&config).unwrap();
    assert_eq!(digits.points.dim(), (1797, 64));
    assert_eq!(digits.row_shape, [8, 8]);
    assert_eq!(digits.points.iter().fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x))), (0.0, 16.0));
    let labels = digits.labels.unwrap();
    let counts: Vec<usize> =
        (0..10).map(|digit| labels.iter().filter(|label| **label == digit.to_string()).count()).collect();
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    // The first image is a zero; its first row of pixels.
    assert_eq!(labels[0], "0");
    assert_eq!(digits.points.row(0).as_slice().unwrap()[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0]);
    assert_eq!(digits.sha256, "32e5cc52bef5b2d53f140c6d1e9ac70c51fe8968d19e4b4683e29d838259610b");
}

#[test]
fn columns_and_labels_of_a_csv_file_are_found_by_name() {
    let folder = Folder::new();
    let mut config = DataSetConfig::of_file(folder.put("iris.csv", IRIS));
    config.label = Some("species".to_owned());
    let all = DataSet::load(&config).unwrap();
    assert_eq!(all.points, arr2(&[[5.1, 1.4], [7.0, 4.7], [6.3, 6.0]]));
    assert_eq!(all.labels.as_deref(), Some(strings(&["setosa", "versicolor", "virginica"]).as_slice()));
    assert_eq!(all.columns, Some(strings(&["sepal", "petal"])));
    config.label = None;
    config.columns = Some(strings(&["petal"]));
    let one = DataSet::load(&config).unwrap();
    assert_eq!((one.points, one.columns), (arr2(&[[1.4], [4.7], [6.0]]), Some(strings(&["petal"]))));
    assert_eq!(one.labels, None);
}

#[test]
fn delimiter_header_and_line_ends_are_recognised() {
    let folder = Folder::new();
    let expected = arr2(&[[1.0, -2.5], [3e2, 4.0]]);
    let same = [
        ("a.csv", "1,-2.5\n3e2,4\n"),
        ("a.csv", "x,y\r\n1,-2.5\r\n\r\n3e2,4"),
        ("a.csv", "\u{feff}x;y\n1;-2.5\n3e2;4\n\n"),
        ("a.csv", "\"x,1\";\"y\"\n1;-2.5\n3e2;4"),
        ("a.csv", "x\ty\n 1 \t\"-2.5\"\n3e2\t4\n"),
        ("a.tsv", "x,1\ty\n1\t-2.5\n3e2\t4\n"),
    ];
    for (name, text) in same {
        assert_eq!(folder.load(name, text).unwrap().points, expected, "{text:?}");
    }
    assert_eq!(folder.load("a.csv.gz", gzip(same[0].1)).unwrap().points, expected);
    // Two gzip members in one file, as `cat a.gz b.gz` makes them.
    let members = [gzip("x,y\n"), gzip("1,-2.5\n3e2,4\n")].concat();
    assert_eq!(folder.load("a.csv.gz", members).unwrap().points, expected);
    assert_eq!(folder.load("a.csv", "x\n1\n2\n\n \n").unwrap().points, arr2(&[[1.0], [2.0]]));
    let mut config = DataSetConfig::of_file(folder.put("years.csv", "2020,2021\n1,2\n"));
    config.header = Some(true);
    assert_eq!(DataSet::load(&config).unwrap().columns, Some(strings(&["2020", "2021"])));
    config.header = Some(false);
    assert_eq!(DataSet::load(&config).unwrap().points.nrows(), 2);
}

#[test]
fn columns_without_names_are_chosen_by_number() {
    let folder = Folder::new();
    let mut config = DataSetConfig::of_file(folder.put("a.csv", "1.5,2,red\n3,4,blue\n"));
    config.columns = Some(strings(&["2", "1"]));
    config.label = Some("3".to_owned());
    let data = DataSet::load(&config).unwrap();
    assert_eq!(data.points, arr2(&[[2.0, 1.5], [4.0, 3.0]]));
    assert_eq!((data.labels, data.columns), (Some(strings(&["red", "blue"])), Some(strings(&["2", "1"]))));
    let mut config = DataSetConfig::of_file(folder.put("a.npy", npy("<f8", false, "(1, 3)", &doubles(&[7., 8., 9.]))));
    config.columns = Some(strings(&["3"]));
    assert_eq!(DataSet::load(&config).unwrap().points, arr2(&[[9.0]]));
}

#[test]
fn points_are_read_by_the_names_of_a_run_or_whole_where_there_are_no_names() {
    let folder = Folder::new();
    let names = strings(&["petal", "sepal"]);
    let named = read_points(&folder.put("iris.csv", IRIS), Some(&names), None).unwrap();
    assert_eq!(named.points.row(0).to_vec(), [1.4, 5.1]);
    for (name, bytes) in [
        ("a.csv", b"1.0,2\n".to_vec()),
        ("a.npy", npy("<f8", false, "(1, 2)", &doubles(&[1.0, 2.0]))),
        ("a.npz", npz(&[("arr_0", npy("<f8", false, "(1, 2)", &doubles(&[1.0, 2.0])))])),
    ] {
        let found = read_points(&folder.put(name, bytes), Some(&names), None).unwrap().points;
        assert_eq!(found, arr2(&[[1.0, 2.0]]), "{name}");
    }
}

#[test]
fn arrays_of_every_type_order_and_rank_become_rows() {
    let folder = Folder::new();
    let read = |bytes: Vec<u8>| folder.load("a.npy", bytes).unwrap();
    let expected = arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    assert_eq!(read(npy("<f8", false, "(2, 3)", &doubles(&[1., 2., 3., 4., 5., 6.]))).points, expected);
    assert_eq!(read(npy("<f8", true, "(2, 3)", &doubles(&[1., 4., 2., 5., 3., 6.]))).points, expected);
    assert_eq!(read(npy("|u1", false, "(2, 3)", &[1, 2, 3, 4, 5, 6])).points, expected);
    assert_eq!(read(npy(">i2", false, "(2, 3)", &[0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6])).points, expected);
    assert_eq!(read(npy("|b1", false, "(2,)", &[1, 0])).points, arr2(&[[1.0], [0.0]]));
    // Rank 3 in both orders: the value is the index in C order.
    let cube = read(npy("|u1", false, "(2, 2, 2)", &[0, 1, 2, 3, 4, 5, 6, 7]));
    assert_eq!((cube.points.row(1).to_vec(), cube.row_shape), (vec![4.0, 5.0, 6.0, 7.0], vec![2, 2]));
    let fortran = read(npy("|u1", true, "(2, 2, 2)", &[0, 4, 2, 6, 1, 5, 3, 7]));
    assert_eq!(fortran.points, cube.points);
    // Other writers: a header of version 2, and Python 2's long integers.
    let header = "{\"shape\":(1L,2L),\"fortran_order\":False,\"descr\":\"<f8\"}";
    let long = [b"\x93NUMPY\x02\x00", (header.len() as u32).to_le_bytes().as_slice(), header.as_bytes()].concat();
    assert_eq!(read([long, doubles(&[1.0, 2.0])].concat()).points, arr2(&[[1.0, 2.0]]));
    let zipped = gzip(npy("|u1", false, "(2, 3)", &[1, 2, 3, 4, 5, 6]));
    assert_eq!(folder.load("a.npy.gz", zipped).unwrap().points, expected);
}

#[test]
fn an_archive_gives_its_data_by_name_or_where_there_is_no_doubt() {
    let folder = Folder::new();
    let matrix = npy("<f8", false, "(2, 2)", &doubles(&[1., 2., 3., 4.]));
    let vector = npy("<i8", false, "(2,)", &[7i64.to_le_bytes(), 8i64.to_le_bytes()].concat());
    let words = npy("<U2", false, "(2,)", &"a\0bc".chars().flat_map(|c| (c as u32).to_le_bytes()).collect::<Vec<u8>>());
    let expected = arr2(&[[1.0, 2.0], [3.0, 4.0]]);
    let bytes = npz(&[("features", matrix.clone()), ("y", vector.clone()), ("word", words)]);
    let mut config = DataSetConfig::of_file(folder.put("a.npz", &bytes));
    assert_eq!(DataSet::load(&config).unwrap().points, expected);
    config.label = Some("y".to_owned());
    assert_eq!(DataSet::load(&config).unwrap().labels, Some(strings(&["7", "8"])));
    config.label = Some("word".to_owned());
    assert_eq!(DataSet::load(&config).unwrap().labels, Some(strings(&["a", "bc"])));
    config.columns = Some(strings(&["y", "features"]));
    assert_eq!(DataSet::load(&config).unwrap().points, arr2(&[[7.0, 1.0, 2.0], [8.0, 3.0, 4.0]]));
    config.columns = Some(strings(&["y"]));
    assert_eq!(DataSet::load(&config).unwrap().columns, Some(strings(&["y"])));
    assert_eq!(folder.load("b.npz.gz", gzip(&bytes)).unwrap().points, expected);
    let pickled = npz(&[("meta", npy("|O", false, "()", b"pickle")), ("f", npy("|u1", false, "(1, 1)", &[5]))]);
    assert_eq!(folder.load("e.npz", pickled).unwrap().points, arr2(&[[5.0]]));
    let two = npz(&[("weights", npy("|u1", false, "(1, 1)", &[1])), ("X", matrix)]);
    assert_eq!(folder.load("c.npz", two).unwrap().points, expected);
    assert_eq!(folder.load("d.npz", npz(&[("t", vector)])).unwrap().points, arr2(&[[7.0], [8.0]]));
}

#[test]
fn idx_files_of_every_type_are_read_and_labels_from_the_file_beside() {
    let folder = Folder::new();
    let read = |code, data: &[u8]| folder.load("a.idx", idx(code, &[2], data)).unwrap().points.column(0).to_vec();
    assert_eq!(read(0x08, &[1, 200]), [1.0, 200.0]);
    assert_eq!(read(0x09, &[1, 200]), [1.0, -56.0]);
    assert_eq!(read(0x0b, &[1, 0, 255, 255]), [256.0, -1.0]);
    assert_eq!(read(0x0c, &[0, 0, 1, 0, 255, 255, 255, 255]), [256.0, -1.0]);
    assert_eq!(read(0x0d, &[1.5f32.to_be_bytes(), (-2f32).to_be_bytes()].concat()), [1.5, -2.0]);
    assert_eq!(read(0x0e, &[1.5f64.to_be_bytes(), (-2f64).to_be_bytes()].concat()), [1.5, -2.0]);
    let images = gzip(idx(0x08, &[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]));
    let mut config = DataSetConfig::of_file(folder.put("train-images-idx3-ubyte.gz", images));
    folder.put("train-labels-idx1-ubyte", idx(0x08, &[2], &[9, 3]));
    config.label = Some("train-labels-idx1-ubyte".to_owned());
    config.image_shape = Some([2, 2]);
    let data = DataSet::load(&config).unwrap();
    assert_eq!(data.points, arr2(&[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]));
    assert_eq!(data.labels, Some(strings(&["9", "3"])));
}

#[test]
fn a_file_that_cannot_be_opened_says_why() {
    let folder = Folder::new();
    let missing = DataSetConfig::of_file(folder.0.path().join("digits.npz"));
    let directory = std::env::current_dir().unwrap();
    assert_eq!(
        folder.message(&missing),
        format!(
            "digits.npz: there is no such file; check the path, which is relative to the working directory {}",
            directory.display()
        )
    );
    std::fs::create_dir(folder.0.path().join("data")).unwrap();
    assert_eq!(
        folder.message(&DataSetConfig::of_file(folder.0.path().join("data"))),
        "data: this is a folder; name a file in it (.npy, .npz, .csv, .tsv and .idx, each also with .gz)"
    );
    assert_eq!(
        folder.refusal("a.parquet", "x"),
        "a.parquet: the extension .parquet is unknown; known are .npy, .npz, .csv, .tsv and .idx, each also with .gz: \
         rename or convert the file"
    );
    assert_eq!(
        folder.refusal("points", "x"),
        "points: the name has no extension; known are .npy, .npz, .csv, .tsv and .idx, each also with .gz: rename or \
         convert the file"
    );
    assert_eq!(
        at(Path::new("a.csv"))(FileProblem::Open(std::io::ErrorKind::PermissionDenied.into())).to_string(),
        "a.csv: it cannot be opened: permission denied; check its permissions"
    );
    assert_eq!(
        at(Path::new("a.csv"))(FileProblem::Read(std::io::ErrorKind::TimedOut.into())).to_string(),
        "a.csv: reading failed: timed out; check the disk, or copy the file again"
    );
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_instead_of_waited_for() {
    assert_eq!(
        read_points(Path::new("/dev/null"), None, None).unwrap_err().to_string(),
        "/dev/null: this is no regular file, and it is read more than once; copy what it gives to a file first"
    );
}

#[test]
fn a_data_set_without_rows_or_columns_is_refused() {
    let folder = Folder::new();
    let no_rows = "the data set is empty: it has no rows; give a file with at least one";
    let no_columns = "the rows are empty: there is no column to learn from; give at least one numeric column";
    for (name, bytes, message) in [
        ("a.csv", Vec::new(), no_rows),
        ("b.csv", b"\n\n".to_vec(), no_rows),
        ("c.csv", b"x,y\n".to_vec(), no_rows),
        ("d.npy", npy("<f8", false, "(0, 2)", &[]), no_rows),
        ("e.npy", npy("<f8", false, "(1000000000000, 0)", &[]), no_columns),
        ("f.idx", idx(0x08, &[0, 28, 28], &[]), no_rows),
        ("g.csv.gz", gzip(""), no_rows),
    ] {
        assert_eq!(folder.refusal(name, bytes), format!("{name}: {message}"));
    }
    let label_alone = folder.refusal_with("h.csv", "x\n1\n", |config| config.label = Some("x".to_owned()));
    assert_eq!(label_alone, format!("h.csv: {no_columns}"));
    assert_eq!(
        folder.refusal("i.npy", npy("<f8", false, "()", &doubles(&[1.0]))),
        "i.npy: this is a single number; give an array with one row a point"
    );
}

#[test]
fn a_wrong_cell_is_named_by_row_line_and_column() {
    let folder = Folder::new();
    assert_eq!(
        folder.refusal("a.csv", "x,y\n1,2\n3\n"),
        "a.csv: row 2 (line 3) has 1 values where 2 are expected; mend or remove that line"
    );
    assert_eq!(
        folder.refusal("b.csv", "x,\"petal\r\nwidth\"\r\n\r\n1,2\r\n3,NaN\r\n"),
        "b.csv: row 2 (line 5), column \"petal\\r\\nwidth\": NaN is not finite; fill in the value, or remove the row"
    );
    assert_eq!(
        folder.refusal("c.csv", "1.5,2\n3,1e999"),
        "c.csv: row 2 (line 2), column 2: 1e999 is not finite; fill in the value, or remove the row"
    );
    assert_eq!(
        folder.refusal("d.csv", "x,y\n1,\n"),
        "d.csv: row 1 (line 2), column \"y\": the value is missing; fill it in, or remove the row"
    );
    assert_eq!(
        folder.refusal("e.csv", IRIS),
        "e.csv: row 1 (line 2), column \"species\": \"setosa\" is not a number; correct it, name a column of text as \
         `label`, or list the numeric columns in `columns`"
    );
    assert_eq!(
        folder.refusal("f.npy", npy("<f8", false, "(2, 2)", &doubles(&[1.0, 2.0, f64::NEG_INFINITY, 4.0]))),
        "f.npy: row 2, column 1: -inf is not finite; fill in the value, or remove the row"
    );
    let long = folder.refusal("g.csv", format!("x\n{}\n", "é".repeat(1000)));
    assert!(long.contains(&format!("\"{}\"", "é".repeat(40))), "{long}");
    assert_eq!(folder.refusal("i.csv", b"\xff\xfex\0"), "i.csv: the text is UTF-16; save it as UTF-8");
}

#[test]
fn a_name_that_is_not_there_is_met_with_the_names_that_are() {
    let folder = Folder::new();
    assert_eq!(
        folder.refusal_with("a.csv", IRIS, |config| config.label = Some("Spezies".to_owned())),
        "a.csv: `label` names the column \"Spezies\", which is not there (did you mean \"species\"?); there are \
         \"sepal\", \"petal\", \"species\""
    );
    assert_eq!(
        folder.refusal_with("a.csv", IRIS, |config| config.columns = Some(strings(&["colour"]))),
        "a.csv: `columns` names the column \"colour\", which is not there; there are \"sepal\", \"petal\", \"species\""
    );
    assert_eq!(
        folder.refusal_with("b.csv", "1.5,2\n", |config| config.label = Some("y".to_owned())),
        "b.csv: `label` names the column \"y\", but the columns have no names, only numbers (1 to 2); give a number, or \
         set `header` to true if the first line holds the names"
    );
    let vector = npy("|u1", false, "(2,)", &[1, 2]);
    assert_eq!(
        folder.refusal_with("c.npy", &vector, |config| config.columns = Some(strings(&["0"]))),
        "c.npy: `columns` names the column \"0\", but the columns have no names, only numbers (1 to 1); give a number"
    );
    let archive = npz(&[("a", vector.clone()), ("b", vector.clone())]);
    assert_eq!(
        folder.refusal("d.npz", &archive),
        "d.npz: none of its arrays is clearly the data; name one in `columns`: there are \"a (2,)\", \"b (2,)\""
    );
    assert_eq!(
        folder.refusal_with("d.npz", &archive, |config| config.label = Some("labels".to_owned())),
        "d.npz: `label` names the array \"labels\", which is not there; there are \"a\", \"b\""
    );
    assert_eq!(
        folder.refusal("e.npz", npz(&[])),
        "e.npz: none of its arrays is clearly the data; name one in `columns`: there are none"
    );
    let unequal = npz(&[("a", vector.clone()), ("b", npy("|u1", false, "(1,)", &[1]))]);
    assert_eq!(
        folder.refusal_with("f.npz", unequal, |config| config.columns = Some(strings(&["a", "b"]))),
        "f.npz: the arrays \"a\" and \"b\" have 2 and 1 rows; give arrays of one length"
    );
    assert_eq!(
        folder.refusal("g.csv", "x,x\n1,2\n"),
        "g.csv: two columns are called \"x\"; rename one in the first line, or leave both out with `columns`"
    );
    assert_eq!(
        folder.refusal("h.csv", ",x\n1.5,2\n"),
        "h.csv: column 1 has no name in the first line; name it, or list the columns to use in `columns`"
    );
}

#[test]
fn keys_that_do_not_fit_the_file_are_refused() {
    let folder = Folder::new();
    let array = npy("|u1", false, "(2, 2)", &[1, 2, 3, 4]);
    assert_eq!(
        folder.refusal_with("a.npy", &array, |config| config.header = Some(true)),
        "a.npy: `header` is set, but only .csv and .tsv files have one; leave it out"
    );
    assert_eq!(
        folder.refusal_with("a.npy", &array, |config| config.image_shape = Some([8, 8])),
        "a.npy: image_shape [8, 8] has 64 pixels, a row has 2 values; correct it, or leave it out"
    );
    assert_eq!(
        folder.refusal_with("a.npy", &array, |config| config.noise = -1.0),
        "the noise of a data set is -1; give a standard deviation of 0 or more"
    );
    folder.put("labels.npy", npy("|u1", false, "(3,)", &[1, 2, 3]));
    assert_eq!(
        folder.refusal_with("a.npy", &array, |config| config.label = Some("labels.npy".to_owned())),
        "labels.npy: the labels have shape (3,), the data 2 rows; give one label a row"
    );
    folder.put("labels.csv", "1\n2\n");
    assert_eq!(
        folder.refusal_with("a.npy", &array, |config| config.label = Some("labels.csv".to_owned())),
        "labels.csv: labels beside an .npy or .idx file come from another .npy or .idx file; convert this one"
    );
    assert!(
        folder
            .refusal_with("a.npy", &array, |config| config.label = Some("none.npy".to_owned()))
            .starts_with("none.npy: there is no such file")
    );
}

#[test]
fn headers_that_promise_more_than_the_file_holds_are_refused_at_once() {
    let folder = Folder::new();
    let promise = npy("<f8", false, "(1000000000000, 2)", &doubles(&[1.0, 2.0]));
    let cure = "the file is cut off or the header wrong: write it again";
    let announced = "the header announces an array (1000000000000, 2) of float64, which is 16000000000000 bytes";
    assert_eq!(folder.refusal("a.npy", &promise), format!("a.npy: {announced}, but 16 follow it; {cure}"));
    assert_eq!(folder.refusal("a.npy.gz", gzip(&promise)), format!("a.npy.gz: {announced}, but 16 follow it; {cure}"));
    assert_eq!(
        folder.refusal("a.npz", npz(&[("x", promise)])),
        format!("a.npz: {announced}, but 16 follow it; {cure}")
    );
    assert_eq!(
        folder.refusal("a.idx", idx(0x08, &[u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX], &[1, 2])),
        format!(
            "a.idx: the header announces an array (4294967295, 4294967295, 4294967295, 4294967295, 4294967295) of uint8, \
             which is {} bytes, but 2 follow it; {cure}",
            u128::MAX
        )
    );
    let longer = npy("|u1", false, "(2,)", &[1, 2, 3]);
    let announced = "the header announces an array (2,) of uint8, which is 2 bytes";
    assert_eq!(folder.refusal("b.npy", &longer), format!("b.npy: {announced}, but 3 follow it; {cure}"));
    assert_eq!(folder.refusal("b.npy.gz", gzip(&longer)), format!("b.npy.gz: {announced}, but more follow it; {cure}"));
    let overflow = npy("<f8", false, &format!("({0}, {0}, {0}, {0})", u64::MAX), &[]);
    assert!(folder.refusal("c.npy", overflow).contains("but 0 follow it"));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_sparse_file_larger_than_the_memory_is_refused() {
    let folder = Folder::new();
    // As f64 the values take 2⁴⁷ bytes, which is all that a process can address.
    let count = (1u64 << 44) - (1 << 20);
    let path = folder.put("a.npy", npy("|u1", false, &format!("({count},)"), &[]));
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let header = file.metadata().unwrap().len();
    // Not every file system holds such a file.
    if file.set_len(header + count).is_ok() {
        let mut source = Source::file(std::fs::File::open(&path).unwrap(), false).unwrap();
        assert_eq!(
            npy::read_npy(&mut source).err().unwrap().to_string(),
            "the 17592184995840 values need 131071 GB of memory, which is not there; give a smaller file"
        );
    }
}

#[test]
fn damaged_files_are_told_from_foreign_ones() {
    let folder = Folder::new();
    let good = gzip("1,2\n3,4\n");
    for end in [1, good.len() / 2, good.len() - 9, good.len() - 1] {
        assert_damaged_gzip(&folder.refusal("a.csv.gz", &good[..end]));
    }
    assert_damaged_gzip(&folder.refusal("a.npy.gz", b"\x93NUMPY plain"));
    let archive = npz(&[("x", npy("|u1", false, "(2,)", &[1, 2]))]);
    let message = folder.refusal("c.npz", &archive[..archive.len() / 2]);
    assert!(message.starts_with("c.npz: the archive is damaged or no .npz file ("), "{message}");
    let mut flipped = npz(&[("x", npy("|u1", false, "(4,)", &[201, 202, 203, 204]))]);
    let place = flipped.windows(4).position(|bytes| bytes == [201, 202, 203, 204]).unwrap();
    flipped[place] = 1;
    assert_eq!(
        folder.refusal("d.npz", flipped),
        "d.npz: the archive is damaged or no .npz file (Invalid checksum); write it again with numpy.savez"
    );
    for (bytes, reason) in [
        (b"\x93NUM".to_vec(), "it ends inside its header"),
        (b"1,2\n3,4\n5,6\n".to_vec(), "it does not begin with numpy's mark"),
        (b"\x93NUMPY\x09\x00\x00\x00".to_vec(), "its format version 9 is unknown"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "its header claims 4294967295 bytes"),
        (npy_with_header("(1, 2)", &[]), "its header has \"(1, 2)\" where `{` belongs"),
        (npy_with_header("{'descr': '<f8'}", &[]), "its header lacks descr, fortran_order or shape"),
        (npy_with_header("{'shape': (1, -2)}", &[]), "its header has \"-2)}\" where a length belongs"),
        (npy_with_header("{'fortran_order': 1}", &[]), "its header has \"1}\" where True or False belongs"),
        (npy_with_header("{'a': 1}", &[]), "its header has the key \"a\""),
        (npy_with_header("{'shape': (1 2)}", &[]), "its header has \"2)}\" where a comma belongs"),
        (npy_with_header(&format!("{{'shape': ({})}}", "1,".repeat(65)), &[]), "it announces more than 64 axes"),
    ] {
        assert_eq!(
            folder.refusal("e.npy", bytes),
            format!("e.npy: this is no intact .npy file: {reason}; write it again")
        );
    }
    for (bytes, reason) in [
        (b"\0\0".to_vec(), "it ends inside its header"),
        (idx(0x08, &[1, 2], &[])[..9].to_vec(), "it ends inside its header"),
        (b"1234".to_vec(), "it does not begin with two zero bytes"),
        (idx(0x0a, &[1], &[0]), "its type code 0x0a is unknown"),
    ] {
        assert_eq!(
            folder.refusal("f.idx", bytes),
            format!("f.idx: this is no intact IDX file: {reason}; write it again")
        );
    }
    for descr in ["<c16", "|O", "<f16", "<U5", "<M8[ns]", "", "<U0", "|S99999999999999999999"] {
        let message = folder.refusal("g.npy", npy(descr, false, "(1,)", &[0; 20]));
        assert!(message.contains("only bool, integers, float16, float32 and float64 are read"), "{descr}: {message}");
    }
    assert_eq!(
        folder.refusal("h.npy", npy_with_header("{'descr': [('x', '<f8')]}", &[])),
        "h.npy: the elements are of type a record of fields, but only bool, integers, float16, float32 and float64 are \
         read; save numpy.array(array.tolist()) instead of array"
    );
    assert!(
        folder
            .refusal("i.npy", npy("<c16", false, "(1,)", &[0; 16]))
            .ends_with("save numpy.stack([array.real, array.imag], -1) instead of array")
    );
}

#[test]
fn a_damaged_tail_of_a_long_gzipped_table_is_called_that() {
    let folder = Folder::new();
    let text: String = (0..20_000).map(|i| format!("{i},{}\n", i * 7919 % 1013)).collect();
    let whole = gzip(&text);
    assert_eq!(folder.load("a.csv.gz", &whole).unwrap().points.dim(), (20_000, 2));
    assert_damaged_gzip(&folder.refusal("b.csv.gz", &whole[..whole.len() - 20]));
}

#[test]
fn a_configuration_is_found_that_fits_a_file() {
    let folder = Folder::new();
    let fitting = |name: &str, bytes: &[u8]| {
        let Fitting { config, data, .. } = DataSetConfig::fitting(&folder.put(name, bytes), None).unwrap();
        (config, data)
    };
    let (config, data) = fitting("iris.csv", IRIS.as_bytes());
    assert_eq!((config.label.as_deref(), config.columns), (Some("species"), None));
    assert_eq!(data.points.dim(), (3, 2));
    let (config, data) = fitting("mixed.csv", b",a,when,b,who\n0,1,monday,2,x\n1,3,friday,4,y\n");
    assert_eq!((config.label, config.columns), (None, Some(strings(&["a", "b"]))));
    assert_eq!(data.points, arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    let (config, _) = fitting("plain.csv", b"1.5,2,red\n3,4,blue\n");
    assert_eq!((config.label.as_deref(), config.columns), (Some("3"), None));
    let (config, _) = fitting("plane.csv", b"x,y\n1,2\n");
    assert_eq!((config.label, config.columns), (None, None));
    let images = npz(&[("X", npy("|u1", false, "(1, 2, 2)", &[1, 2, 3, 4])), ("y", npy("|u1", false, "(1,)", &[0]))]);
    let (config, data) = fitting("a.npz", &images);
    assert_eq!((config.label.as_deref(), config.image_shape), (Some("y"), Some([2, 2])));
    assert_eq!(data.labels, Some(strings(&["0"])));
    folder.put("t-labels-idx1-ubyte", idx(0x08, &[1], &[3]));
    let (config, data) = fitting("t-images-idx3-ubyte", &idx(0x08, &[1, 2, 2], &[1, 2, 3, 4]));
    assert_eq!(config.label.as_deref(), Some("t-labels-idx1-ubyte"));
    assert_eq!(data.labels, Some(strings(&["3"])));
    assert_eq!(DataSet::load(&config).unwrap(), data);
}

#[test]
fn nothing_is_left_out_or_taken_for_labels_in_silence() {
    let folder = Folder::new();
    let found = |name: &str, text: String| {
        let Fitting { config, notes, .. } = DataSetConfig::fitting(&folder.put(name, text), None).unwrap();
        (config.columns, config.label, notes)
    };
    let rows = |row: &dyn Fn(i32) -> String| (0..60).map(|k| row(k) + "\n").collect::<String>();
    let table = |head: &str, row: &dyn Fn(i32) -> String| format!("{head}\n{}", rows(row));
    // Neither the name y nor few integers make labels; a name and floats do not either.
    let y = table("x,y,z", &|k| format!("{k}.5,{},{k}.25", k % 2));
    assert_eq!(found("a.csv", y), (None, None, vec![]));
    let target = table("x,target", &|k| format!("{k}.5,{k}.25"));
    assert_eq!(found("b.csv", target), (None, None, vec![]));
    let class = table("x,z,class", &|k| format!("{k}.5,{k}.25,{}", k % 3));
    let (columns, label, notes) = found("c.csv", class);
    assert_eq!((columns, label.as_deref()), (None, Some("class")));
    assert_eq!(
        notes,
        ["column \"class\" is taken for the labels: so it is called, and it holds few distinct integers"]
    );
    let frame = table(",x,z,kind,place", &|k| format!("{},{k}.5,{k}.25,a,b", k * 7 % 61));
    let (columns, label, notes) = found("d.csv", frame);
    assert_eq!((columns, label), (Some(strings(&["x", "z"])), None));
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert_eq!(notes[0], "column 1 without a name is left out: it is the index of a data frame");
    assert_eq!(notes[1], "column \"kind\" is left out: it is no column of numbers: \"a\" in row 1 (line 2)");
    // One bad cell makes no labels.
    let bad = table("x,hum", &|k| if k == 40 { "1.5,NA".to_owned() } else { format!("{k}.5,{k}.25") });
    let error = DataSetConfig::fitting(&folder.put("e.csv", bad), None).unwrap_err().to_string();
    assert!(error.contains("row 41 (line 42), column \"hum\": \"NA\" is not a number"), "{error}");
    let cars = table("\"\",\"mpg\",\"cyl\"", &|k| format!("\"car {k}\",{k}.5,{k}.25"));
    let (columns, label, notes) = found("g.csv", cars);
    assert_eq!((columns, label), (Some(strings(&["mpg", "cyl"])), None));
    assert!(
        notes[0].starts_with("column 1 without a name is left out: it is no column of numbers: \"car 0\""),
        "{notes:?}"
    );
    let archive = |y: &[f64]| {
        npz(&[
            ("x", npy("<f8", false, "(2, 2)", &doubles(&[1.0, 2.0, 3.0, 5.0]))),
            ("y", npy("<f8", false, "(2,)", &doubles(y))),
        ])
    };
    let fitting = |y: &[f64]| DataSetConfig::fitting(&folder.put("f.npz", archive(y)), None).unwrap();
    assert_eq!(fitting(&[0.0, 1.0]).config.label.as_deref(), Some("y"));
    let Fitting { config, notes, .. } = fitting(&[0.5, 1.0]);
    assert_eq!((config.label, notes), (None, vec!["the array \"y\" is left out: its values are no labels".to_owned()]));
}

#[test]
fn a_first_row_is_names_or_a_point_and_never_a_guess() {
    let folder = Folder::new();
    let load = |text: &str, header: Option<bool>| read_points(&folder.put("a.csv", text), None, header);
    for (text, header, columns, points) in [
        ("0,1\n2.5,3\n", Some(true), Some(["0", "1"]), arr2(&[[2.5, 3.0]])),
        ("0,1\n2.5,3\n", Some(false), None, arr2(&[[0.0, 1.0], [2.5, 3.0]])),
        ("year,2020\n2.5,3\n", None, Some(["year", "2020"]), arr2(&[[2.5, 3.0]])),
        ("# x,y\n0,1\n2.5,3\n", None, Some(["x", "y"]), arr2(&[[0.0, 1.0], [2.5, 3.0]])),
        ("# by hand, of \"old\n# x,y\n2.5,3\n", None, Some(["x", "y"]), arr2(&[[2.5, 3.0]])),
        ("# three, words, here\nx,y\n2.5,3\n", None, Some(["x", "y"]), arr2(&[[2.5, 3.0]])),
        ("# two, words\nx,y\n2.5,3\n", None, Some(["x", "y"]), arr2(&[[2.5, 3.0]])),
        ("# 1,2\n2.5,3\n", None, None, arr2(&[[2.5, 3.0]])),
        ("\n# x,y\n#\n\n2.5,3\n", None, Some(["x", "y"]), arr2(&[[2.5, 3.0]])),
        ("# made by, me\n2.5,3\n", None, None, arr2(&[[2.5, 3.0]])),
        ("# made by, me\n0,1\n2.5,3\n", Some(true), Some(["0", "1"]), arr2(&[[2.5, 3.0]])),
        ("2020,2021\n2.5,3\n", Some(true), Some(["2020", "2021"]), arr2(&[[2.5, 3.0]])),
        // Every name is in quotes, as in what is written here, and no number is.
        ("\"2020\",\"2021\"\n2.5,3\n", None, Some(["2020", "2021"]), arr2(&[[2.5, 3.0]])),
        ("\"#x\",y\n2.5,3\n", None, Some(["#x", "y"]), arr2(&[[2.5, 3.0]])),
        // A flag that is for another file.
        ("x,y\n2.5,3\n", Some(false), Some(["x", "y"]), arr2(&[[2.5, 3.0]])),
        ("1.5,2\n2.5,3\n", Some(true), None, arr2(&[[1.5, 2.0], [2.5, 3.0]])),
        ("Unnamed: 0,x,y\n5,2.5,3\n2,1,1\n", None, Some(["x", "y"]), arr2(&[[2.5, 3.0], [1.0, 1.0]])),
        // The index of a data frame, whose columns have names or numbers.
        (",x,y\n5,2.5,3\n2,1,1\n", None, Some(["x", "y"]), arr2(&[[2.5, 3.0], [1.0, 1.0]])),
        (",0,1\n0,2.5,3\n1,1,1\n", None, Some(["0", "1"]), arr2(&[[2.5, 3.0], [1.0, 1.0]])),
        ("\"\",\"x\",\"y\"\n\"1\",2.5,3\n", None, Some(["x", "y"]), arr2(&[[2.5, 3.0]])),
    ] {
        let found = load(text, header).unwrap();
        assert_eq!(found.columns, columns.map(|names| strings(&names)), "{text:?}");
        assert_eq!(found.points, points, "{text:?}");
    }
    for text in ["0,1\n2,3\n", "1,2\n2,3\n", "0\n1\n", "kind,0,1\na,2,3\nb,2,3\n", "# made by, me\n0,1\n2,3\n"] {
        let error = load(text, None).unwrap_err().to_string();
        assert!(error.contains("--header yes"), "{error}");
    }
    // What stands for a missing value is no name.
    for (text, cell) in [("NA,1\n2,3\n", "NA"), ("0.5f,0.3\n2,3\n", "0.5f"), ("NA\n2\n", "NA")] {
        let error = load(text, None).unwrap_err().to_string();
        assert!(error.contains(&format!("row 1 (line 1), column 1: {cell:?} is not a number")), "{error}");
        assert!(error.ends_with("if it is a name, say so with `header`: true, or `--header yes`"), "{error}");
    }
    // The names of a run are those of its data file, whatever they look like.
    let years = strings(&["2020", "2021"]);
    let file = folder.put("years.csv", "2020,2021\n2.5,3\n");
    assert!(read_points(&file, Some(&years), None).unwrap_err().to_string().contains("--header yes"));
    assert_eq!(read_points(&file, Some(&years), Some(true)).unwrap().points, arr2(&[[2.5, 3.0]]));
    assert_eq!(read_points(&file, None, None).unwrap().points.nrows(), 2);
    // All rows in quotes are rows of data alike, whatever the quotes hold.
    let quoted = "\"Smith\",\"1.5\"\n\"Jones, A\",\"2\"\n";
    let mut config = DataSetConfig::of_file(folder.put("quoted.csv", quoted));
    config.columns = Some(strings(&["2"]));
    assert_eq!(DataSet::load(&config).unwrap().points, arr2(&[[1.5], [2.0]]));
    for names in [&["x", "0.5"][..], &["NA"], &["#a", "b"], &["Unnamed: 0", "x"], &["2020", "1"]] {
        let names = strings(names);
        let points = Points::from_shape_fn((3, names.len()), |(i, j)| i as f64 + 0.5 * j as f64 + 0.25);
        let bytes = encode(OutputFormat::Csv, &points, Some(&names));
        let again = read_points(&folder.put("written.csv", bytes), None, None).unwrap();
        assert_eq!((again.columns, again.points), (Some(names), points));
    }
    let numbers = strings(&["3", "1"]);
    let chosen = read_points(&folder.put("three.csv", "2.5,3,4\n"), Some(&numbers), None).unwrap();
    assert_eq!((chosen.points, chosen.columns), (arr2(&[[4.0, 2.5]]), Some(numbers)));
}

#[test]
fn an_empty_cell_is_never_passed_over() {
    let folder = Folder::new();
    let missing =
        |line: u64| format!("row 2 (line {line}), column \"x\": the value is missing; fill it in, or remove the row");
    for (text, line) in [("x\n1\n\n2\n", 3), ("x\n1\n  \n\n2\n", 3), ("x\n1\n\"\"\n", 3), ("# x\n1\r\n\r\n2", 3)] {
        let found = folder.refusal("a.csv", text);
        assert!(found.contains(&missing(line)), "{text:?}: {found}");
    }
    assert_eq!(folder.load("d.csv", "# x\n\n1.5\n\"2\n\"\n").unwrap().points, arr2(&[[1.5], [2.0]]));
    assert!(folder.refusal("b.csv", "1.5\n\n2\n").contains("row 2 (line 2), column 1: the value is missing"));
    assert!(folder.refusal("c.csv", "x,y\n1,2\n,3\n").contains("the value is missing"));
}

#[test]
fn line_ends_of_old_and_rows_without_an_end_are_named() {
    let folder = Folder::new();
    let carriage = "lines end in a bare carriage return (\\r); save the file with line ends \\n or \\r\\n";
    for text in ["x,y\r1,2\r3,4\r", "1.5,2\r3,4", "x,y\n1,2\r3,4\n", "x,y\r1,2\r3,4\n"] {
        assert_eq!(folder.refusal("a.csv", text), format!("a.csv: {carriage}"), "{text:?}");
        assert!(DataSetConfig::fitting(&folder.put("a.csv", text), None).unwrap_err().to_string().contains(carriage));
    }
    assert_eq!(folder.refusal("b.csv", "x\r1\r2\r"), format!("b.csv: {carriage}"));
    assert_eq!(folder.refusal("c.csv", "x\n1\r2\n"), format!("c.csv: {carriage}"));
    let path = folder.put("d.csv", "x\n1\n\"2");
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 28).unwrap();
    assert!(
        DataSet::load(&DataSetConfig::of_file(path))
            .unwrap_err()
            .to_string()
            .ends_with("the row that begins on line 3 is longer than 64 MB; end its line, or close its quote")
    );
}

#[test]
fn weights_are_a_column_an_array_or_a_file_beside() {
    let folder = Folder::new();
    let table = "x,w,y\n1.5,2,3\n4,0,5\n";
    let array = npy("<f8", false, "(2, 2)", &doubles(&[1.5, 3.0, 4.0, 5.0]));
    let weights = npy("<f8", false, "(2,)", &doubles(&[2.0, 0.0]));
    folder.put("w", "");
    folder.put("w.npy", &weights);
    for (name, bytes, weight) in [
        ("a.csv", table.as_bytes().to_vec(), "w"),
        ("a.npz", npz(&[("x", array.clone()), ("w", weights.clone())]), "w"),
        ("a.npy", array.clone(), "w.npy"),
    ] {
        let mut config = DataSetConfig::of_file(folder.put(name, bytes));
        config.weight = Some(weight.to_owned());
        let data = DataSet::load(&config).unwrap();
        assert_eq!(data.weights, Some(vec![2.0, 0.0]), "{name}");
        assert_eq!(data.points, arr2(&[[1.5, 3.0], [4.0, 5.0]]), "{name}");
    }
    let mut config = DataSetConfig::of_file(folder.put("b.npy", &array));
    folder.put("ones.csv", "1\n0\n");
    config.weight = Some("ones.csv".to_owned());
    assert_eq!(DataSet::load(&config).unwrap().weights, Some(vec![1.0, 0.0]));
    let weigh = |config: &mut DataSetConfig| config.weight = Some("w".to_owned());
    for (text, message) in [
        ("x,w\n1,-1\n", "row 1: the weight -1 is below zero; weights are zero or more"),
        (
            "x,w\n1,0\n",
            "all weights are zero, or their sum is not finite; give weights that say how much each point counts",
        ),
        ("x,w\n1,\n", "row 1 (line 2), column \"w\": the value is missing; fill it in, or remove the row"),
    ] {
        assert_eq!(folder.refusal_with("b.csv", text, weigh), format!("b.csv: {message}"));
    }
}

#[test]
fn a_configuration_needs_a_path_alone_and_knows_its_keys() {
    let config: DataSetConfig = serde_json::from_str(r#"{"path": "a.csv"}"#).unwrap();
    assert_eq!(config, DataSetConfig::of_file("a.csv"));
    let digits = r#"{"path": "datasets/digits.npz", "columns": null, "label": "label", "image_shape": [8, 8],
                     "standardize": "per_column", "split": {"train": 1300, "validation": 200, "test": 297}}"#;
    let digits: DataSetConfig = serde_json::from_str(digits).unwrap();
    assert_eq!((digits.standardize, digits.split.test), (Standardize::PerColumn, 297.0));
    let again: DataSetConfig = serde_json::from_str(&serde_json::to_string(&digits).unwrap()).unwrap();
    assert_eq!(again, digits);
    let error = serde_json::from_str::<DataSetConfig>(r#"{"path": "a.csv", "colums": ["x"]}"#).unwrap_err();
    assert!(error.to_string().starts_with("unknown field `colums`"), "{error}");
    let schema = serde_json::to_value(schemars::schema_for!(DataSetConfig)).unwrap();
    let keys = schema["properties"].as_object().unwrap();
    assert!(keys.values().all(|key| key["description"].is_string()), "every key is documented: {schema:#}");
    assert_eq!(schema["required"], serde_json::json!(["path"]));
}

fn encode(format: OutputFormat, points: &Points, columns: Option<&[String]>) -> Vec<u8> {
    let mut encoder = PointEncoder::new(Vec::new(), format, points.ncols(), points.nrows() as u64, columns).unwrap();
    encoder.write(points).unwrap();
    encoder.finish().unwrap()
}

/// Finite points of every size.
fn any_points() -> impl Strategy<Value = Points> {
    (1usize..20, 1usize..6).prop_flat_map(|(n, d)| {
        let value = any::<f64>().prop_filter("finite", |x| x.is_finite());
        prop::collection::vec(value, n * d).prop_map(move |values| Array2::from_shape_vec((n, d), values).unwrap())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn npy_returns_every_bit(points in any_points()) {
        let folder = Folder::new();
        let path = folder.0.path().join("a.npy");
        write_points(&path, &points, None).unwrap();
        prop_assert_eq!(read_points(&path, None, None).unwrap().points, points.clone());
        let single = folder.load("b.npy", encode(OutputFormat::Npy(Precision::Single), &points.mapv(|x| x % 1e30), None));
        prop_assert_eq!(single.unwrap().points, points.mapv(|x| f64::from((x % 1e30) as f32)));
    }

    #[test]
    fn csv_returns_every_bit_with_and_without_names(points in any_points(), named in any::<bool>()) {
        let folder = Folder::new();
        let names: Vec<String> = (0..points.ncols()).map(|column| format!("x, \"{column}\"")).collect();
        let columns = named.then_some(names.as_slice());
        let bytes = encode(OutputFormat::Csv, &points, columns);
        let data = folder.load("a.csv", bytes).unwrap();
        prop_assert_eq!(data.points, points);
        prop_assert_eq!(data.columns.as_deref(), columns);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), flip in any::<u16>()) {
        let folder = Folder::new();
        for name in ["a.npy", "a.npz", "a.csv", "a.tsv", "a.idx", "a.npy.gz"] {
            let _ = folder.load(name, &bytes);
        }
        let _ = folder.load("b.csv.gz", gzip(&bytes));
        let _ = folder.load("b.npz.gz", gzip(&bytes));
        // Past the first checks: a true beginning, then noise; and a good file with one byte changed.
        let noise = String::from_utf8_lossy(&bytes).into_owned();
        let _ = folder.load("c.npy", npy_with_header(&noise, &bytes));
        let _ = folder.load("d.npy", npy("<f8", flip % 2 == 0, &noise, &bytes));
        let _ = folder.load("e.idx", [&[0, 0, 8 + (flip % 7) as u8, (flip >> 8) as u8], bytes.as_slice()].concat());
        let mut archive = npz(&[("x", npy("|u1", false, "(2, 2)", &[1, 2, 3, 4])), ("y", npy("<f4", true, "(1,)", &[0; 4]))]);
        let place = usize::from(flip) % archive.len();
        archive[place] ^= bytes.first().copied().unwrap_or(1);
        let _ = folder.load("f.npz", archive);
    }

    #[test]
    fn no_text_makes_the_csv_reader_panic(text in "[-0-9a.,;\t\"\r\n é]{0,80}", label in any::<bool>(), header in any::<Option<bool>>()) {
        let folder = Folder::new();
        let mut config = DataSetConfig::of_file(folder.put("a.csv", text));
        config.header = header;
        config.label = label.then(|| "1".to_owned());
        if let Ok(data) = DataSet::load(&config) {
            prop_assert!(data.points.iter().all(|value| value.is_finite()));
            prop_assert!(data.labels.is_none_or(|labels| labels.len() == data.points.nrows()));
        }
    }
}
