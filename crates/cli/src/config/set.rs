//! Values given on the command line, laid over the tree of a config file.

use std::sync::Arc;

use serde_json::Value;

use super::check::{Alternative, Problem, Schemas, join};
use super::tree::{Entry, Kind, Node, Origin, parse_argument};

/// One value that the command line puts into a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The argument as typed, for messages: `--set training.steps=5`, `--seed 3`.
    pub argument: Arc<str>,
    /// Where the value goes: keys and list positions joined by dots.
    pub path: String,
    /// The value: JSON, or where it is none a string.
    pub value: String,
}

impl Override {
    /// The text after `--set`: `training.ema.0.half_life=300`.
    pub fn set(text: &str) -> Result<Self, Problem> {
        let argument: Arc<str> = format!("--set {text}").into();
        match text.split_once('=') {
            Some((path, value)) if path.split('.').all(|segment| !segment.trim().is_empty()) => {
                Ok(Self { argument, path: path.trim().to_owned(), value: value.to_owned() })
            }
            _ => Err(Problem {
                origin: Origin::Argument(argument),
                path: String::new(),
                message: "expected KEY=VALUE with a dotted key, as in `--set training.steps=1000`".to_owned(),
            }),
        }
    }

    /// A flag that stands for a key: `Override::flag("--seed", "seed", 3)`.
    pub fn flag(flag: &str, path: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        Self { argument: format!("{flag} {value}").into(), path: path.to_owned(), value }
    }

    /// Puts the value into the tree. Naming the settings of another choice (`training.learning_rate.constant.rate`)
    /// replaces the choice that was there; a key that nothing knows is left for the schema to refuse.
    pub fn apply(&self, schema: &Value, tree: &mut Node) -> Result<(), Problem> {
        let origin = Origin::Argument(self.argument.clone());
        let schemas = Schemas(schema);
        let (mut node, mut schema, mut path) = (tree, Some(schema), String::new());
        for segment in self.path.split('.') {
            let chooses = schema.is_some_and(|schema| {
                schemas
                    .alternatives(schema)
                    .iter()
                    .any(|alternative| matches!(alternative, Alternative::Tagged(name, _) if *name == segment))
            });
            let replaced = match &node.kind {
                Kind::Null => true,
                Kind::Object(entries) => chooses && entries.iter().all(|entry| entry.key != segment),
                Kind::String(_) => chooses,
                _ => false,
            };
            if replaced {
                *node = Node { origin: origin.clone(), kind: Kind::Object(Vec::new()) };
            }
            schema = schema.and_then(|schema| schemas.child(schema, segment));
            let whole = join(&path, segment);
            let found = node.to_string();
            node = match &mut node.kind {
                Kind::Object(entries) => entry(entries, segment, &origin),
                Kind::Array(elements) => element(elements, segment, &origin).map_err(|length| Problem {
                    origin: origin.clone(),
                    path: whole.clone(),
                    message: match length {
                        0 => "the list is empty; its first place is 0".to_owned(),
                        _ => format!(
                            "expected a place in a list of {length}: 0 to {} or, to append, {length}",
                            length - 1
                        ),
                    },
                })?,
                _ => {
                    let message = format!("no such key: `{path}` is {found}, which has no keys");
                    return Err(Problem { origin, path: whole, message });
                }
            };
            path = whole;
        }
        *node = parse_argument(&self.value, &self.argument);
        // A name such as 2024 or true needs no quotes inside the shell's quotes.
        if let (Kind::Number(_) | Kind::Bool(_), Some(schema)) = (&node.kind, schema)
            && schemas.accepts_only_strings(schema)
        {
            node.kind = Kind::String(self.value.clone());
        }
        Ok(())
    }
}

fn entry<'a>(entries: &'a mut Vec<Entry>, key: &str, origin: &Origin) -> &'a mut Node {
    let index = entries.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
        let value = Node { origin: origin.clone(), kind: Kind::Null };
        entries.push(Entry { key: key.to_owned(), origin: origin.clone(), value });
        entries.len() - 1
    });
    &mut entries[index].value
}

/// The element at a place, or a new one just behind the last; the length where there is neither.
fn element<'a>(elements: &'a mut Vec<Node>, place: &str, origin: &Origin) -> Result<&'a mut Node, usize> {
    let length = elements.len();
    let index = place.parse::<usize>().ok().filter(|index| *index <= length).ok_or(length)?;
    if index == length {
        elements.push(Node { origin: origin.clone(), kind: Kind::Null });
    }
    Ok(&mut elements[index])
}
