//! A config's tree against the JSON schema: every mistake, each with its place, and the value that is left.
//!
//! # Design
//!
//! The schema is the one that schemars derives from the types serde reads, so what is refused here
//! and what serde would refuse are one thing. Serde stops at its first error and knows no line of a
//! second; a general validator speaks of `oneOf` where a person wrote a misspelt name. This one knows the
//! few shapes that schemars writes: objects, lists, numbers and externally tagged choices.

use serde_json::{Map, Number, Value};

use super::tree::{Entry, Kind, Node, Origin};

/// One mistake in a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the offending text was written.
    pub origin: Origin,
    /// The full path of the key, such as `training.ema.0.half_life`; empty for the whole config.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
}

impl Problem {
    /// The mistake in one line, with the file's name.
    pub fn describe(&self, file: &str) -> String {
        let place = match &self.origin {
            Origin::File { line, column } => format!("{file}:{line}:{column}"),
            Origin::Argument(argument) => format!("`{argument}`"),
        };
        if self.path.is_empty() {
            format!("{place}: {}", self.message)
        } else {
            format!("{place}: `{}`: {}", self.path, self.message)
        }
    }
}

/// The value of a tree in the types of the schema (`1e3` becomes 1000 where an integer belongs), and every mistake.
pub fn check(schema: &Value, tree: &Node) -> (Value, Vec<Problem>) {
    let mut checker = Checker { schemas: Schemas(schema), problems: Vec::new() };
    let value = checker.visit(schema, tree, "");
    (value, checker.problems)
}

/// A schema with its definitions.
#[derive(Clone, Copy)]
pub(super) struct Schemas<'a>(pub(super) &'a Value);

/// One of the shapes that a value may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Alternative<'a> {
    /// A choice without settings: `"heun"`.
    Name(&'a str),
    /// A choice with settings: `{"karras": {"rho": 7}}`.
    Tagged(&'a str, &'a Value),
    /// Anything else.
    Plain(&'a Value),
}

impl<'a> Schemas<'a> {
    fn resolve(self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        while let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            match reference.strip_prefix('#').and_then(|pointer| self.0.pointer(pointer)) {
                Some(found) => schema = found,
                None => break,
            }
        }
        schema
    }

    /// The shapes that a schema allows, unions and references opened.
    pub(super) fn alternatives(self, schema: &'a Value) -> Vec<Alternative<'a>> {
        self.open(schema, false)
    }

    fn open(self, schema: &'a Value, in_choice: bool) -> Vec<Alternative<'a>> {
        let schema = self.resolve(schema);
        for (union, choice) in [("oneOf", true), ("anyOf", false)] {
            if let Some(members) = schema.get(union).and_then(Value::as_array) {
                return members.iter().flat_map(|member| self.open(member, choice)).collect();
            }
        }
        if let Some(name) = schema.get("const").and_then(Value::as_str) {
            return vec![Alternative::Name(name)];
        }
        if let Some(names) = schema.get("enum").and_then(Value::as_array) {
            return names.iter().filter_map(Value::as_str).map(Alternative::Name).collect();
        }
        if in_choice && let Some((name, inner)) = tagged(schema) {
            return vec![Alternative::Tagged(name, inner)];
        }
        vec![Alternative::Plain(schema)]
    }

    /// Whether a schema takes text and neither numbers nor truth values.
    pub(super) fn accepts_only_strings(self, schema: &'a Value) -> bool {
        self.alternatives(schema).iter().all(|alternative| match alternative {
            Alternative::Name(_) => true,
            Alternative::Tagged(..) => false,
            Alternative::Plain(plain) => {
                types(plain).contains(&"string") && types(plain).iter().all(|kind| ["string", "null"].contains(kind))
            }
        })
    }

    /// The schema one step down a path.
    pub(super) fn child(self, schema: &'a Value, segment: &str) -> Option<&'a Value> {
        self.alternatives(schema).into_iter().find_map(|alternative| match alternative {
            Alternative::Name(_) => None,
            Alternative::Tagged(name, inner) => (name == segment).then_some(inner),
            Alternative::Plain(plain) => {
                property(plain, segment).or_else(|| segment.parse::<usize>().ok().and_then(|_| plain.get("items")))
            }
        })
    }

    /// Where a key of this name belongs, if the config knows it elsewhere.
    fn homes(self, key: &str) -> Vec<String> {
        fn search<'a>(
            schemas: Schemas<'a>,
            schema: &'a Value,
            key: &str,
            path: &mut Vec<&'a str>,
            found: &mut Vec<String>,
        ) {
            // Deeper than any config; a schema that refers to itself ends here.
            const DEEPEST: usize = 8;
            if path.len() > DEEPEST {
                return;
            }
            for alternative in schemas.alternatives(schema) {
                let children: Vec<(&str, &Value)> = match alternative {
                    Alternative::Name(_) => continue,
                    Alternative::Tagged(name, inner) => vec![(name, inner)],
                    Alternative::Plain(plain) => properties(plain).collect(),
                };
                for (name, inner) in children {
                    // A target within a target is no new home.
                    if path.contains(&name) {
                        continue;
                    }
                    path.push(name);
                    if name == key {
                        found.push(path.join("."));
                    }
                    search(schemas, inner, key, path, found);
                    path.pop();
                }
            }
        }
        let mut found = Vec::new();
        search(self, self.0, key, &mut Vec::new(), &mut found);
        found.dedup();
        found
    }

    /// What a schema accepts, in words.
    fn expectation(self, schema: &'a Value) -> String {
        let mut words = Vec::new();
        for alternative in self.alternatives(schema) {
            match alternative {
                Alternative::Name(name) => words.push(format!("\"{name}\"")),
                Alternative::Tagged(name, inner) => words.push(self.written(name, inner)),
                Alternative::Plain(plain) => words.extend(types(plain).iter().map(|kind| self.kind(kind, plain))),
            }
        }
        words.dedup();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            Some((last, _)) => last.clone(),
            None => "any value".to_owned(),
        }
    }

    fn kind(self, kind: &str, schema: &'a Value) -> String {
        match kind {
            "integer" => format!("a whole number{}", bounds(schema)),
            "number" => format!("a number{}", bounds(schema)),
            "boolean" => "true or false".to_owned(),
            "string" => "a string".to_owned(),
            "object" => "an object".to_owned(),
            "array" => {
                let (least, most) = (limit(schema, "minItems"), limit(schema, "maxItems"));
                match (least, most) {
                    (Some(least), Some(most)) if least == most => format!("a list of {least}"),
                    (Some(least), None) if least > 0.0 => format!("a list of at least {least}"),
                    (_, Some(most)) => format!("a list of at most {most}"),
                    _ => "a list".to_owned(),
                }
            }
            other => other.to_owned(),
        }
    }

    /// How a choice with settings is written: `{"ring": {}}` where none is required.
    fn written(self, name: &str, inner: &'a Value) -> String {
        let settings = if let [Alternative::Plain(plain)] = self.alternatives(inner)[..] {
            let mut required = required(plain).map(|key| format!("\"{key}\": …")).collect::<Vec<_>>();
            required.sort();
            if types(plain).contains(&"object") { format!("{{{}}}", required.join(", ")) } else { "…".to_owned() }
        } else {
            "…".to_owned()
        };
        format!("{{\"{name}\": {settings}}}")
    }
}

struct Checker<'a> {
    schemas: Schemas<'a>,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, origin: &Origin, path: &str, message: String) {
        self.problems.push(Problem { origin: origin.clone(), path: path.to_owned(), message });
    }

    fn visit(&mut self, schema: &'a Value, node: &Node, path: &str) -> Value {
        let alternatives = self.schemas.alternatives(schema);
        if let [Alternative::Plain(plain)] = alternatives[..] {
            return self.visit_plain(plain, node, path);
        }
        let names: Vec<&str> = alternatives.iter().filter_map(Alternative::name).collect();
        match &node.kind {
            Kind::String(found) if !names.is_empty() && !accepts(&alternatives, "string") => {
                self.visit_name(&alternatives, found, node, path)
            }
            Kind::Object(entries) if !names.is_empty() && !accepts(&alternatives, "object") => {
                self.visit_tagged(&alternatives, entries, node, path)
            }
            _ => self.visit_union(schema, &alternatives, node, path),
        }
    }

    fn visit_name(&mut self, alternatives: &[Alternative<'a>], found: &str, node: &Node, path: &str) -> Value {
        if !alternatives.iter().any(|alternative| matches!(alternative, Alternative::Name(name) if *name == found)) {
            let settings = alternatives.iter().find_map(|alternative| match alternative {
                Alternative::Tagged(name, inner) if *name == found => Some(self.schemas.written(name, inner)),
                _ => None,
            });
            let message = match settings {
                Some(written) => format!("`{found}` takes settings: write {written}, found \"{found}\""),
                None => misspelt(alternatives, found),
            };
            self.report(&node.origin, path, message);
        }
        Value::String(found.to_owned())
    }

    fn visit_tagged(&mut self, alternatives: &[Alternative<'a>], entries: &[Entry], node: &Node, path: &str) -> Value {
        let [Entry { key, origin, value }] = entries else {
            let found = match entries {
                [] => "an empty object".to_owned(),
                several => several.iter().map(|entry| format!("`{}`", entry.key)).collect::<Vec<_>>().join(" and "),
            };
            let message = format!("expected exactly one of {}, found {found}", listed(alternatives, ""));
            self.report(&node.origin, path, message);
            return Value::Null;
        };
        let inner = alternatives.iter().find_map(|alternative| match alternative {
            Alternative::Tagged(name, inner) if name == key => Some(*inner),
            _ => None,
        });
        if let Some(inner) = inner {
            let value = self.visit(inner, value, &join(path, key));
            return Value::Object(Map::from_iter([(key.clone(), value)]));
        }
        let message = if alternatives.iter().any(|alternative| alternative.name() == Some(key)) {
            format!("`{key}` takes no settings: write \"{key}\"")
        } else {
            misspelt(alternatives, key)
        };
        self.report(origin, path, message);
        Value::Null
    }

    /// The alternative of the found type with the fewest mistakes.
    fn visit_union(&mut self, schema: &'a Value, alternatives: &[Alternative<'a>], node: &Node, path: &str) -> Value {
        let mut best: Option<(Value, Vec<Problem>)> = None;
        for alternative in alternatives {
            let Alternative::Plain(plain) = alternative else { continue };
            if !types(plain).iter().any(|kind| is_of_type(node, kind)) {
                continue;
            }
            let mut attempt = Checker { schemas: self.schemas, problems: Vec::new() };
            let value = attempt.visit_plain(plain, node, path);
            if best.as_ref().is_none_or(|(_, problems)| attempt.problems.len() < problems.len()) {
                best = Some((value, attempt.problems));
            }
        }
        match best {
            Some((value, problems)) => {
                self.problems.extend(problems);
                value
            }
            None => {
                self.report(&node.origin, path, format!("expected {}, found {node}", self.schemas.expectation(schema)));
                Value::Null
            }
        }
    }

    fn visit_plain(&mut self, schema: &'a Value, node: &Node, path: &str) -> Value {
        let types = types(schema);
        if !types.is_empty() && !types.iter().any(|kind| is_of_type(node, kind)) {
            self.report(&node.origin, path, format!("expected {}, found {node}", self.schemas.expectation(schema)));
            return Value::Null;
        }
        match &node.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::String(value) => {
                if value.is_empty() && limit(schema, "minLength").is_some_and(|least| least > 0.0) {
                    self.report(&node.origin, path, "expected a string that is not empty, found \"\"".to_owned());
                }
                Value::String(value.clone())
            }
            Kind::Number(number) => {
                let value = if types.contains(&"integer") { whole(number) } else { Some(number.clone()) };
                match value.filter(|number| is_within(schema, number)) {
                    Some(number) => Value::Number(number),
                    None => {
                        let message = format!("expected {}, found {node}", self.schemas.expectation(schema));
                        self.report(&node.origin, path, message);
                        Value::Null
                    }
                }
            }
            Kind::Array(elements) => {
                let length = elements.len() as f64;
                if limit(schema, "minItems").is_some_and(|least| length < least)
                    || limit(schema, "maxItems").is_some_and(|most| length > most)
                {
                    let message = format!("expected {}, found {node}", self.schemas.expectation(schema));
                    self.report(&node.origin, path, message);
                }
                let items = schema.get("items");
                let visited = elements.iter().enumerate().map(|(index, element)| {
                    items.map_or(Value::Null, |items| self.visit(items, element, &join(path, &index.to_string())))
                });
                Value::Array(visited.collect())
            }
            Kind::Object(entries) => self.visit_object(schema, entries, node, path),
        }
    }

    fn visit_object(&mut self, schema: &'a Value, entries: &[Entry], node: &Node, path: &str) -> Value {
        let mut value = Map::new();
        for (index, entry) in entries.iter().enumerate() {
            let path_of_key = join(path, &entry.key);
            if let Some(first) = entries[..index].iter().find(|earlier| earlier.key == entry.key) {
                let place = match &first.origin {
                    Origin::File { line, .. } => format!("on line {line}"),
                    Origin::Argument(argument) => format!("by `{argument}`"),
                };
                self.report(&entry.origin, &path_of_key, format!("this key was already given {place}; keep one"));
                continue;
            }
            match property(schema, &entry.key) {
                Some(inner) => {
                    value.insert(entry.key.clone(), self.visit(inner, &entry.value, &path_of_key));
                }
                None => {
                    let message = self.unknown(schema, &entry.key);
                    self.report(&entry.origin, &path_of_key, message);
                }
            }
        }
        for key in required(schema) {
            if !entries.iter().any(|entry| entry.key == key) {
                let expected = properties(schema).find(|(name, _)| *name == key).map(|(_, inner)| inner);
                let expected =
                    expected.map_or_else(String::new, |inner| format!(", {}", self.schemas.expectation(inner)));
                self.report(&node.origin, &join(path, key), format!("this key is missing{expected}"));
            }
        }
        Value::Object(value)
    }

    fn unknown(&self, schema: &'a Value, key: &str) -> String {
        let mut keys: Vec<&str> = properties(schema).map(|(name, _)| name).filter(|name| *name != "$schema").collect();
        keys.sort_unstable();
        if keys.is_empty() {
            return "unknown key; none is known here".to_owned();
        }
        if let Some(nearest) = nearest(key, &keys) {
            return format!("unknown key; did you mean `{nearest}`?");
        }
        let known = keys.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match &self.schemas.homes(key)[..] {
            [] => format!("unknown key; known here: {known}"),
            homes => {
                let homes = homes.iter().map(|home| format!("`{home}`")).collect::<Vec<_>>().join(" or ");
                format!("unknown key here; did you mean {homes}?")
            }
        }
    }
}

impl<'a> Alternative<'a> {
    pub(super) fn name(&self) -> Option<&'a str> {
        match self {
            Self::Name(name) | Self::Tagged(name, _) => Some(name),
            Self::Plain(_) => None,
        }
    }
}

/// A path one key longer.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The name nearest in spelling, where one is near.
fn nearest<'a>(found: &str, names: &[&'a str]) -> Option<&'a str> {
    // By experiment: `optimiser`, `batch_size` and `gausian` find their names, `lr` and `epochs` find none.
    const NEAR: f64 = 0.8;
    let (similarity, name) = names
        .iter()
        .map(|name| (strsim::jaro_winkler(&found.to_lowercase(), name), *name))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    (similarity > NEAR).then_some(name)
}

/// The names of a choice, those nearest in spelling first.
fn listed(alternatives: &[Alternative<'_>], found: &str) -> String {
    let mut names: Vec<&str> = alternatives.iter().filter_map(Alternative::name).collect();
    names.sort_unstable();
    names.dedup();
    names.sort_by(|a, b| strsim::jaro_winkler(found, b).total_cmp(&strsim::jaro_winkler(found, a)));
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn misspelt(alternatives: &[Alternative<'_>], found: &str) -> String {
    let names: Vec<&str> = alternatives.iter().filter_map(Alternative::name).collect();
    let hint = nearest(found, &names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    let expected =
        if let [only] = names[..] { format!("`{only}`") } else { format!("one of {}", listed(alternatives, found)) };
    format!("expected {expected}, found `{found}`{hint}")
}

/// The name and the settings of a choice, where a schema is one: an object whose one key is required.
fn tagged(schema: &Value) -> Option<(&str, &Value)> {
    let mut keys = properties(schema);
    let (name, inner) = keys.next()?;
    (keys.next().is_none() && required(schema).eq([name])).then_some((name, inner))
}

/// What stands under a key: its own schema, or that of every key where the config chooses the names.
fn property<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let own = schema.get("properties").and_then(|properties| properties.get(key));
    own.or_else(|| schema.get("additionalProperties").filter(|inner| inner.is_object()))
}

fn properties(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, inner)| (name.as_str(), inner))
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn accepts(alternatives: &[Alternative<'_>], kind: &str) -> bool {
    alternatives
        .iter()
        .any(|alternative| matches!(alternative, Alternative::Plain(plain) if types(plain).contains(&kind)))
}

fn is_of_type(node: &Node, kind: &str) -> bool {
    match &node.kind {
        Kind::Null => kind == "null",
        Kind::Bool(_) => kind == "boolean",
        Kind::Number(_) => kind == "number" || kind == "integer",
        Kind::String(_) => kind == "string",
        Kind::Array(_) => kind == "array",
        Kind::Object(_) => kind == "object",
    }
}

fn limit(schema: &Value, keyword: &str) -> Option<f64> {
    schema.get(keyword).and_then(Value::as_f64)
}

/// The integer that a number is, also where it is written as `1e3` or `20.0`.
fn whole(number: &Number) -> Option<Number> {
    if number.is_u64() || number.is_i64() {
        return Some(number.clone());
    }
    // 2⁵³: above it a floating-point number no longer names one integer.
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    let value = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() <= LARGEST)?;
    Some(if value < 0.0 { Number::from(value as i64) } else { Number::from(value as u64) })
}

/// The bound that an integer's width sets where the schema says none.
fn widest(schema: &Value) -> Option<f64> {
    match schema.get("format").and_then(Value::as_str)? {
        "uint8" => Some(f64::from(u8::MAX)),
        "uint16" => Some(f64::from(u16::MAX)),
        "uint32" => Some(f64::from(u32::MAX)),
        _ => None,
    }
}

fn is_within(schema: &Value, number: &Number) -> bool {
    let Some(value) = number.as_f64() else { return false };
    limit(schema, "minimum").is_none_or(|least| value >= least)
        && limit(schema, "exclusiveMinimum").is_none_or(|below| value > below)
        && limit(schema, "maximum").or(widest(schema)).is_none_or(|most| value <= most)
        && limit(schema, "exclusiveMaximum").is_none_or(|above| value < above)
}

/// The range of a number in words: ` of at least 0 and below 1`.
fn bounds(schema: &Value) -> String {
    let lower = [("minimum", "of at least"), ("exclusiveMinimum", "above")];
    let upper = [("maximum", "at most"), ("exclusiveMaximum", "below")];
    let words = |keywords: [(&str, &str); 2]| {
        keywords.into_iter().find_map(|(keyword, words)| limit(schema, keyword).map(|value| format!("{words} {value}")))
    };
    match (words(lower), words(upper)) {
        (Some(lower), Some(upper)) => format!(" {lower} and {upper}"),
        (Some(lower), None) => format!(" {lower}"),
        (None, Some(upper)) => format!(" {upper}"),
        (None, None) => String::new(),
    }
}
