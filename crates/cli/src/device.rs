//! Devices by name: parsing `cpu`, `wgpu:0` and the like, opening one, and listing what this machine offers.
//!
//! # Design
//!
//! A graphics driver is foreign code: it may be absent, refuse, panic, crash or hang. None of that may take a training
//! run down with a stack trace, so a graphics device is first tried out in a child process of this very binary
//! (`train __probe wgpu:0`), which lists the adapters, multiplies two small matrices, reads the product back and says
//! what it found in one line of JSON. A child that dies or stays silent past [`PROBE_TIME`] is a reason like any other.
//! Only then does this process open the device, and it remembers the answer. `cpu` and `ndarray` need no probe.
//!
//! Burn's default device is never asked for: it is whichever backend happens to be compiled in.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The hidden verb by which this binary asks a copy of itself to try a device.
const PROBE_VERB: &str = "__probe";

/// How long a driver may take to list its adapters and multiply two small matrices.
const PROBE_TIME: Duration = Duration::from_secs(60);

/// What a device may be called, in messages and in the schema.
const NAMES: &str = "cpu, ndarray, wgpu[:INDEX], vulkan[:INDEX], cuda[:INDEX]";

/// A device as a user names it: `cpu`, `ndarray`, `wgpu`, `wgpu:1`, `vulkan:0`, `cuda:0`.
///
/// Without an index a graphics backend means its best adapter: a discrete GPU before a virtual one, an integrated one
/// and a driver that computes on the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// The processor, through burn-flex.
    #[default]
    Cpu,
    /// The processor, through burn-ndarray, which Burn keeps but no longer develops.
    Ndarray,
    /// Any GPU with a Vulkan, Metal, DirectX 12 or OpenGL driver, programmed in WGSL.
    Wgpu(Option<usize>),
    /// A GPU with a Vulkan driver, programmed in SPIR-V.
    Vulkan(Option<usize>),
    /// An NVIDIA GPU.
    Cuda(Option<usize>),
}

impl DeviceName {
    /// The name without its index, which is also the cargo feature that compiles the device in.
    pub fn backend(&self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Ndarray => "ndarray",
            Self::Wgpu(_) => "wgpu",
            Self::Vulkan(_) => "vulkan",
            Self::Cuda(_) => "cuda",
        }
    }

    /// Which adapter of the backend, where the user said so.
    pub fn index(&self) -> Option<usize> {
        match *self {
            Self::Cpu | Self::Ndarray => None,
            Self::Wgpu(index) | Self::Vulkan(index) | Self::Cuda(index) => index,
        }
    }

    /// The same backend at adapter `index`; `cpu` and `ndarray` have only one device and stay what they are.
    fn at(&self, index: usize) -> Self {
        match self {
            Self::Cpu => Self::Cpu,
            Self::Ndarray => Self::Ndarray,
            Self::Wgpu(_) => Self::Wgpu(Some(index)),
            Self::Vulkan(_) => Self::Vulkan(Some(index)),
            Self::Cuda(_) => Self::Cuda(Some(index)),
        }
    }

    /// Whether this build contains the backend.
    pub fn compiled_in(&self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Ndarray => cfg!(feature = "ndarray"),
            Self::Wgpu(_) => cfg!(feature = "wgpu"),
            Self::Vulkan(_) => cfg!(feature = "vulkan"),
            Self::Cuda(_) => cfg!(feature = "cuda"),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index() {
            Some(index) => write!(f, "{}:{index}", self.backend()),
            None => f.write_str(self.backend()),
        }
    }
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown { text: text.to_owned(), nearest: nearest(text) };
        let (backend, index) = match text.split_once(':') {
            None => (text, None),
            Some((backend, index)) => (backend, Some(index.parse::<u16>().map_err(|_| unknown())?.into())),
        };
        match (backend, index) {
            ("cpu", None) => Ok(Self::Cpu),
            ("ndarray", None) => Ok(Self::Ndarray),
            ("wgpu", index) => Ok(Self::Wgpu(index)),
            ("vulkan", index) => Ok(Self::Vulkan(index)),
            ("cuda", index) => Ok(Self::Cuda(index)),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

impl JsonSchema for DeviceName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DeviceName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": format!("Where tensors live and are computed: one of {NAMES}."),
            "pattern": "^(cpu|ndarray|(wgpu|vulkan|cuda)(:[0-9]{1,5})?)$",
        })
    }
}

/// The device name that `text` may have been meant to be.
fn nearest(text: &str) -> &'static str {
    let word = text.split(':').next().unwrap_or(text).to_lowercase();
    if ["gpu", "webgpu", "metal", "rocm", "hip", "mps", "dx12"].contains(&word.as_str()) {
        return "wgpu";
    }
    ["cpu", "ndarray", "wgpu", "vulkan", "cuda"]
        .into_iter()
        .min_by_key(|name| strsim::damerau_levenshtein(&word, name))
        .unwrap_or("cpu")
}

/// Why a device cannot be used, and what to do instead.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceError {
    /// The name is none of ours.
    #[error("`{text}` is no device; did you mean `{nearest}`? A device is one of {NAMES}")]
    Unknown {
        /// What was asked for.
        text: String,
        /// The closest name that exists.
        nearest: &'static str,
    },
    /// The backend was left out when this binary was built.
    #[error(
        "device `{device}` is not in this build. Rebuild with `cargo build --release -p brenier-cli --features {}`, \
         or use `--device cpu`",
        .device.backend()
    )]
    NotCompiledIn {
        /// What was asked for.
        device: DeviceName,
    },
    /// The machine or its driver does not offer it.
    #[error("device `{device}` cannot be used: {reason}. {cure}")]
    Unusable {
        /// What was asked for.
        device: DeviceName,
        /// What the probe found.
        reason: String,
        /// What to try.
        cure: String,
    },
    /// The thread pool was already in use, or the number is out of range.
    #[error("cannot use {count} threads: {reason}. Give `--threads` a number from 1 to the number of cores")]
    Threads {
        /// What was asked for.
        count: usize,
        /// Why not.
        reason: String,
    },
}

/// One line of `train devices`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// What to give to `--device`.
    pub name: String,
    /// `cpu`, `gpu`, or `cpu (software)` for a graphics driver that computes on the processor.
    pub kind: String,
    /// Whether [`open`] would succeed.
    pub available: bool,
    /// Why it is not available, with a cure; null where it is.
    pub reason: Option<String>,
    /// How the adapter calls itself, where there is one.
    pub adapter: Option<String>,
}

/// What a probe saw: how many adapters the backend has, which one it tried, and how that went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Finding {
    count: usize,
    index: usize,
    software: bool,
    adapter: Option<String>,
    error: Option<String>,
}

impl Finding {
    fn failed(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    fn kind(&self) -> &'static str {
        if self.software { "cpu (software)" } else { "gpu" }
    }
}

/// Opens a device, having tried it out first where a driver is involved.
///
/// The answer is remembered: a second call for the same name costs nothing. Tensors made on the device carry no
/// gradient; training adds `.autodiff()`.
///
/// # Errors
///
/// [`DeviceError::NotCompiledIn`], or [`DeviceError::Unusable`] with the reason and a cure. Never a panic.
pub fn open(name: &DeviceName) -> Result<Device, DeviceError> {
    static OPENED: Mutex<BTreeMap<DeviceName, Result<Device, DeviceError>>> = Mutex::new(BTreeMap::new());
    if !name.compiled_in() {
        return Err(DeviceError::NotCompiledIn { device: *name });
    }
    match name {
        DeviceName::Cpu => Ok(Device::flex()),
        DeviceName::Ndarray => Ok(ndarray_device()),
        DeviceName::Wgpu(_) | DeviceName::Vulkan(_) | DeviceName::Cuda(_) => OPENED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(*name)
            .or_insert_with(|| open_adapter(name))
            .clone(),
    }
}

/// Every device this program knows, usable or not, in the order of [`DeviceName`]: one line for each backend, and one more for
/// each adapter where a backend has several.
pub fn list() -> Vec<DeviceReport> {
    let processor = |name: DeviceName| DeviceReport {
        name: name.to_string(),
        kind: "cpu".into(),
        available: name.compiled_in(),
        reason: (!name.compiled_in()).then(|| DeviceError::NotCompiledIn { device: name }.to_string()),
        adapter: None,
    };
    let mut reports = vec![processor(DeviceName::Cpu), processor(DeviceName::Ndarray)];
    for backend in [DeviceName::Wgpu(None), DeviceName::Vulkan(None), DeviceName::Cuda(None)] {
        let missing = |error: DeviceError| DeviceReport {
            name: backend.to_string(),
            kind: "gpu".into(),
            available: false,
            reason: Some(error.to_string()),
            adapter: None,
        };
        if !backend.compiled_in() {
            reports.push(missing(DeviceError::NotCompiledIn { device: backend }));
            continue;
        }
        let best = probe(&backend);
        if best.count == 0 {
            reports.push(missing(unusable(backend, &best)));
            continue;
        }
        // The bare name stands for the best adapter; where there is a choice, each follows under its index.
        let others = if best.count > 1 { 0..best.count } else { 0..0 };
        let others = others.map(|index| backend.at(index)).map(|name| (name, probe(&name)));
        for (name, finding) in std::iter::once((backend, best)).chain(others) {
            reports.push(DeviceReport {
                name: name.to_string(),
                kind: finding.kind().into(),
                available: finding.error.is_none(),
                reason: finding.error.is_some().then(|| unusable(name, &finding).to_string()),
                adapter: finding.adapter,
            });
        }
    }
    reports
}

/// `train devices` for people: one line a device, columns aligned.
pub fn table(reports: &[DeviceReport]) -> String {
    let rows: Vec<[&str; 4]> = std::iter::once(["device", "kind", "available", "what"])
        .chain(reports.iter().map(|report| {
            let available = if report.available { "yes" } else { "no" };
            let what = report.reason.as_deref().or(report.adapter.as_deref()).unwrap_or("");
            [report.name.as_str(), report.kind.as_str(), available, what]
        }))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    rows.iter()
        .map(|[name, kind, available, what]| {
            format!("{name:first$}  {kind:second$}  {available:third$}  {what}").trim_end().to_owned() + "\n"
        })
        .collect()
}

/// Sets how many threads the processor's backends and our own loops use; results do not depend on it.
///
/// # Errors
///
/// [`DeviceError::Threads`] for zero, for more than 1024, and once any parallel work has been done.
pub fn set_threads(count: usize) -> Result<(), DeviceError> {
    let refused = |reason: String| DeviceError::Threads { count, reason };
    if !(1..=1024).contains(&count) {
        return Err(refused("the number is out of range".into()));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .build_global()
        .map_err(|error| refused(format!("the thread pool cannot be made ({error})")))
}

/// Answers for a process that was started as a probe: `main` returns this exit code before it does anything else.
///
/// None for every other process. The answer is one line of JSON on stdout.
pub fn answer_probe() -> Option<ExitCode> {
    // Paths need not be Unicode text.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != PROBE_VERB {
        return None;
    }
    // A panic becomes the answer's text; printed by the default hook it would only be noise.
    std::panic::set_hook(Box::new(|_| {}));
    let finding = match arguments.next().unwrap_or_default().to_string_lossy().parse::<DeviceName>() {
        Ok(name) => try_out(&name),
        Err(error) => Finding::failed(error.to_string()),
    };
    println!("{}", serde_json::to_string(&finding).unwrap_or_default());
    // Skipping destructors: a driver that answered may still crash while it is unloaded.
    use std::io::Write;
    let _ = std::io::stdout().flush();
    std::process::exit(0)
}

/// burn-ndarray is deprecated upstream and asked for by name here, so this is the one place that says so.
#[cfg(feature = "ndarray")]
#[allow(deprecated)]
fn ndarray_device() -> Device {
    Device::new(burn_ndarray::NdArrayDevice::Cpu)
}

#[cfg(not(feature = "ndarray"))]
fn ndarray_device() -> Device {
    unreachable!("`open` refuses what is not compiled in")
}

/// Probes an adapter in a child process, then opens it in this one.
fn open_adapter(name: &DeviceName) -> Result<Device, DeviceError> {
    let finding = probe(name);
    if finding.error.is_some() {
        return Err(unusable(*name, &finding));
    }
    let device = quietly(|| start(&adapters(name)?, finding.index, name))
        .map_err(|error| unusable(*name, &Finding { error: Some(error), ..finding.clone() }))?;
    let adapter = finding.adapter.as_deref().unwrap_or("an unnamed adapter");
    tracing::debug!("device {}: {adapter}, {}", name.at(finding.index), finding.kind());
    if finding.software {
        tracing::warn!("device {name} is {adapter}, which computes on the processor; `cpu` is faster");
    }
    Ok(device)
}

/// The error for a finding that names one.
fn unusable(device: DeviceName, finding: &Finding) -> DeviceError {
    let reason = finding.error.clone().unwrap_or_default();
    let cure = match device {
        _ if finding.count > 0 && finding.adapter.is_none() => "`train devices` lists what there is".to_owned(),
        DeviceName::Cuda(_) => "Install the NVIDIA driver and the CUDA runtime, or use `--device cpu`".to_owned(),
        _ => "Install or update the graphics driver (on Debian and Ubuntu: `apt-get install mesa-vulkan-drivers` or \
              the maker's own), or use `--device cpu`"
            .to_owned(),
    };
    DeviceError::Unusable { device, reason, cure }
}

/// Asks a child process to try `name`, and waits for its answer no longer than [`PROBE_TIME`].
fn probe(name: &DeviceName) -> Finding {
    let started = Instant::now();
    let finding = ask_child(name).unwrap_or_else(Finding::failed);
    tracing::debug!("probed {name} in {:.1} s: {finding:?}", started.elapsed().as_secs_f64());
    finding
}

fn ask_child(name: &DeviceName) -> Result<Finding, String> {
    let binary = std::env::current_exe().map_err(|error| format!("this program cannot find its own file ({error})"))?;
    let mut child = Command::new(binary)
        .args([PROBE_VERB, &name.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("a process to try it in cannot be started ({error})"))?;
    // The pipe is read on a thread of its own, so that a silent driver cannot hold this one past the time limit.
    let (sender, answer) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || sender.send(std::io::read_to_string(stdout).unwrap_or_default()));
    }
    let text = answer.recv_timeout(PROBE_TIME);
    if matches!(text, Err(mpsc::RecvTimeoutError::Timeout)) {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("the process that tried it was lost ({error})"))?;
    let Ok(text) = text else {
        return Err(format!("its driver did not answer within {} seconds", PROBE_TIME.as_secs()));
    };
    text.lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok())
        .ok_or_else(|| format!("its driver crashed while being tried ({status})"))
}

/// The child's work: list the adapters, open the one asked for, compute on it.
fn try_out(name: &DeviceName) -> Finding {
    let devices = match quietly(|| adapters(name)) {
        Ok(devices) => devices,
        Err(error) => return Finding::failed(error),
    };
    let count = devices.len();
    let index = name.index().unwrap_or_else(|| best(&devices));
    if index >= count {
        let error = match count {
            1 => "there is 1 adapter, whose index is 0".to_owned(),
            _ => format!("there are {count} adapters, with indices 0 to {}", count - 1),
        };
        return Finding { count, index, error: Some(error), ..Finding::default() };
    }
    let mut finding = Finding { count, index, ..Finding::default() };
    let tried = quietly(|| {
        let device = start(&devices, index, name)?;
        (finding.adapter, finding.software) = describe(&device);
        multiply(&device)
    });
    finding.error = tried.err();
    finding
}

/// The adapters a backend has here, in its own order; an error where there is none.
fn adapters(name: &DeviceName) -> Result<Vec<Device>, String> {
    let found = enumerate(name);
    if found.is_empty() {
        return Err(match name {
            DeviceName::Cuda(_) => "no CUDA device was found",
            DeviceName::Vulkan(_) => "no Vulkan driver was found",
            _ => "no graphics driver was found",
        }
        .into());
    }
    Ok(found)
}

fn enumerate(name: &DeviceName) -> Vec<Device> {
    match name {
        #[cfg(feature = "wgpu")]
        DeviceName::Wgpu(_) => Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec(),
        #[cfg(feature = "vulkan")]
        DeviceName::Vulkan(_) => Device::enumerate(burn::tensor::DeviceType::Vulkan).into_vec(),
        #[cfg(feature = "cuda")]
        DeviceName::Cuda(_) => Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec(),
        _ => Vec::new(),
    }
}

/// Which adapter a name without an index means.
#[cfg(feature = "wgpu")]
fn best(devices: &[Device]) -> usize {
    use burn::tensor::DeviceKind::{DiscreteGpu, IntegratedGpu, VirtualGpu};
    [DiscreteGpu(0), VirtualGpu(0), IntegratedGpu(0)]
        .into_iter()
        .find_map(|kind| devices.iter().position(|device| is_kind(device, &kind)))
        .unwrap_or(0)
}

#[cfg(not(feature = "wgpu"))]
fn best(_: &[Device]) -> usize {
    0
}

/// Whether an enumerated device is the one that `kind` selects, on either of the two graphics backends.
#[cfg(feature = "wgpu")]
fn is_kind(device: &Device, kind: &burn::tensor::DeviceKind) -> bool {
    #[cfg(feature = "vulkan")]
    if *device == Device::vulkan(kind.clone()) {
        return true;
    }
    *device == Device::wgpu(kind.clone())
}

/// Brings adapter `index` up. wgpu has a way that returns its errors, which knows four kinds of adapter; a device of any
/// other kind or backend starts at its first use.
fn start(devices: &[Device], index: usize, name: &DeviceName) -> Result<Device, String> {
    let device = devices.get(index).ok_or("the adapter went away between two looks at it")?;
    #[cfg(feature = "wgpu")]
    if let Some(graphics_api) = graphics_api(name) {
        use burn::tensor::DeviceKind::{Cpu, DiscreteGpu, IntegratedGpu, VirtualGpu};
        let kinds = (0..devices.len()).flat_map(|i| [DiscreteGpu(i), IntegratedGpu(i), VirtualGpu(i)]).chain([Cpu]);
        for kind in kinds {
            if is_kind(device, &kind) {
                let options = Device::wgpu_options().device_kind(kind).graphics_api(graphics_api);
                return options.init().map_err(|error: burn_wgpu::WgpuInitError| error.to_string());
            }
        }
    }
    #[cfg(not(feature = "wgpu"))]
    let _ = name;
    Ok(device.clone())
}

#[cfg(feature = "wgpu")]
fn graphics_api(name: &DeviceName) -> Option<burn_wgpu::WgpuBackend> {
    match name {
        DeviceName::Wgpu(_) => Some(burn_wgpu::WgpuBackend::Auto),
        DeviceName::Vulkan(_) => Some(burn_wgpu::WgpuBackend::Vulkan),
        _ => None,
    }
}

/// How the adapter calls itself, and whether it is the processor in disguise: a card has a place on a bus.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn describe(device: &Device) -> (Option<String>, bool) {
    match device.identity() {
        Some(identity) => (Some(identity.name), identity.physical.is_none()),
        None => (None, false),
    }
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
fn describe(_: &Device) -> (Option<String>, bool) {
    (None, false)
}

/// The trial: `AB` for `A[i,k] = i + k` and `B[k,j] = k - j`, of size 16, read back and compared. Every entry is a small
/// integer, exact in f32 in any order of summation.
fn multiply(device: &Device) -> Result<(), String> {
    const N: usize = 16;
    let entries =
        |f: fn(usize, usize) -> f32| TensorData::new((0..N * N).map(|n| f(n / N, n % N)).collect::<Vec<f32>>(), [N, N]);
    let a = Tensor::<2>::from_data(entries(|i, k| i as f32 + k as f32), device);
    let b = Tensor::<2>::from_data(entries(|k, j| k as f32 - j as f32), device);
    let product = a.matmul(b).into_data().try_to_vec::<f32>().map_err(|error| error.to_string())?;
    let right = (0..N * N).all(|n| {
        let exact: f32 = (0..N).map(|k| ((n / N + k) as f32) * (k as f32 - (n % N) as f32)).sum();
        product.get(n) == Some(&exact)
    });
    if right { Ok(()) } else { Err("it multiplies two small matrices wrongly".into()) }
}

/// Runs foreign code that may panic, and makes its panic an error in one line.
fn quietly<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let line = text.and_then(|text| text.lines().map(str::trim).find(|line| !line.is_empty()));
        Err(format!("its driver failed ({})", line.unwrap_or("without a message")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_written() {
        for text in ["cpu", "ndarray", "wgpu", "wgpu:0", "wgpu:12", "vulkan", "vulkan:1", "cuda", "cuda:3"] {
            let name: DeviceName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(serde_json::to_value(name).unwrap(), text);
            assert_eq!(serde_json::from_value::<DeviceName>(text.into()).unwrap(), name);
        }
    }

    #[test]
    fn a_wrong_name_says_what_there_is() {
        for text in ["", "cpu:0", "wgpu:", "wgpu:-1", "wgpu:x", "wgpu:0:1", "cuda:99999999999", "CPU", "tpu"] {
            assert!(matches!(text.parse::<DeviceName>(), Err(DeviceError::Unknown { .. })), "{text:?} was accepted");
        }
        assert_eq!(
            "gpu".parse::<DeviceName>().unwrap_err().to_string(),
            "`gpu` is no device; did you mean `wgpu`? A device is one of \
             cpu, ndarray, wgpu[:INDEX], vulkan[:INDEX], cuda[:INDEX]"
        );
        assert_eq!(nearest("nd-array"), "ndarray");
        assert_eq!(nearest("vulcan:0"), "vulkan");
        assert_eq!(nearest("CPU"), "cpu");
    }

    #[test]
    fn the_processor_is_always_there_and_computes() {
        multiply(&open(&DeviceName::Cpu).unwrap()).unwrap();
        #[cfg(feature = "ndarray")]
        multiply(&open(&DeviceName::Ndarray).unwrap()).unwrap();
    }

    #[test]
    fn what_is_not_compiled_in_names_its_feature() {
        #[cfg(not(feature = "cuda"))]
        assert_eq!(
            open(&DeviceName::Cuda(None)).unwrap_err().to_string(),
            "device `cuda` is not in this build. Rebuild with \
             `cargo build --release -p brenier-cli --features cuda`, or use `--device cpu`"
        );
    }

    #[test]
    fn a_panic_in_foreign_code_is_an_error_in_one_line() {
        let error = quietly(|| -> Result<(), String> { panic!("\n  lost the adapter\n  backtrace") }).unwrap_err();
        assert_eq!(error, "its driver failed (lost the adapter)");
    }

    #[test]
    fn threads_are_refused_outside_their_range() {
        assert!(matches!(set_threads(0), Err(DeviceError::Threads { count: 0, .. })));
        assert!(set_threads(100_000).is_err());
    }

    #[test]
    fn the_table_is_aligned() {
        let report = |name: &str, available, reason: Option<&str>, adapter: Option<&str>| DeviceReport {
            name: name.into(),
            kind: "cpu".into(),
            available,
            reason: reason.map(Into::into),
            adapter: adapter.map(Into::into),
        };
        assert_eq!(
            table(&[report("cpu", true, None, None), report("wgpu:0", false, Some("no driver"), Some("A card"))]),
            "device  kind  available  what\n\
             cpu     cpu   yes\n\
             wgpu:0  cpu   no         no driver\n"
        );
    }
}
