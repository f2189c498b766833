//! Reading the bodies of v1 messages: as lax as a v1 dashboard, and with its words where they do not fit.
//!
//! Fields are read in the order in which a v1 dashboard declares them; every problem is collected, and all of them
//! are answered together.

use axum::{
    body::Bytes,
    http::{HeaderMap, header::CONTENT_TYPE},
};
use serde_json::{Map, Value, json};

use super::json_text;
use crate::reply::{ApiError, Problem};

/// What a text has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextRule {
    min: usize,
    max: Option<usize>,
    check: Check,
}

/// A check beyond the length.
#[derive(Debug, Clone, Copy)]
enum Check {
    Nothing,
    /// A regular expression, shown to the client, and a function that says the same.
    Pattern(&'static str, fn(&str) -> bool),
    /// What to say of a text that the function does not take.
    Format(&'static str, fn(&str) -> bool),
}

impl TextRule {
    /// Any text.
    pub(super) const fn any() -> Self {
        Self { min: 0, max: None, check: Check::Nothing }
    }

    /// A text of at most so many characters.
    pub(super) const fn up_to(max: usize) -> Self {
        Self { min: 0, max: Some(max), check: Check::Nothing }
    }

    /// A text that matches.
    pub(crate) const fn pattern(pattern: &'static str, matches: fn(&str) -> bool) -> Self {
        Self { min: 0, max: None, check: Check::Pattern(pattern, matches) }
    }

    /// Also a least number of characters.
    pub(super) const fn at_least(self, min: usize) -> Self {
        Self { min, ..self }
    }

    /// Also a format.
    pub(super) const fn format(self, message: &'static str, fits: fn(&str) -> bool) -> Self {
        Self { check: Check::Format(message, fits), ..self }
    }
}

/// The smallest and the largest that an integer may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct IntegerRule {
    pub(super) ge: i64,
    pub(super) le: Option<i64>,
}

/// The fields of a body, and what was wrong with those that were read.
#[derive(Debug)]
pub(crate) struct Fields {
    object: Map<String, Value>,
    problems: Vec<Problem>,
}

impl Fields {
    /// The fields of a request's body.
    pub(crate) fn of(headers: &HeaderMap, body: &Bytes) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Err(missing_body());
        }
        let value = if is_json(headers) {
            read_json(body)?
        } else {
            Value::String(String::from_utf8_lossy(body).into_owned())
        };
        match value {
            Value::Object(object) => Ok(Self { object, problems: Vec::new() }),
            Value::Null => Err(missing_body()),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(ApiError::Invalid(vec![Problem {
                    kind: "model_attributes_type",
                    loc: vec![json!("body")],
                    msg: "Input should be a valid dictionary or object to extract fields from"
                        .to_owned(),
                    input: value,
                    ctx: None,
                }]))
            }
        }
    }

    /// Ends the reading.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.problems)) }
    }

    /// A text that has to be there. With a problem it is empty, and [`Self::finish`] fails.
    pub(crate) fn text(&mut self, name: &'static str, rule: TextRule) -> String {
        match self.value(name) {
            None => self.missing(name),
            Some(value) => self.check_text(name, rule, value),
        }
        .unwrap_or_default()
    }

    /// A text that may be absent or null.
    pub(super) fn optional_text(&mut self, name: &'static str, rule: TextRule) -> Option<String> {
        let value = self.value(name).filter(|value| !value.is_null())?;
        self.check_text(name, rule, value)
    }

    /// A text that has a default if it is absent, and none if it is null.
    pub(super) fn text_or(
        &mut self,
        name: &'static str,
        rule: TextRule,
        default: &str,
    ) -> Option<String> {
        if self.object.contains_key(name) {
            self.optional_text(name, rule)
        } else {
            Some(default.to_owned())
        }
    }

    /// An integer that has to be there.
    pub(super) fn integer(&mut self, name: &'static str, rule: IntegerRule) -> i64 {
        match self.value(name) {
            None => self.missing(name),
            Some(value) => self.check_integer(name, rule, value),
        }
        .unwrap_or_default()
    }

    /// An integer that may be absent, but not null.
    pub(super) fn integer_or(
        &mut self,
        name: &'static str,
        rule: IntegerRule,
        default: i64,
    ) -> i64 {
        match self.value(name) {
            None => default,
            Some(value) => self.check_integer(name, rule, value).unwrap_or_default(),
        }
    }

    /// An integer that may be absent or null.
    pub(super) fn optional_integer(
        &mut self,
        name: &'static str,
        rule: IntegerRule,
    ) -> Option<i64> {
        let value = self.value(name).filter(|value| !value.is_null())?;
        self.check_integer(name, rule, value)
    }

    /// A truth value that may be absent, but not null.
    pub(super) fn flag_or(&mut self, name: &'static str, default: bool) -> bool {
        let Some(value) = self.value(name) else { return default };
        match read_flag(&value) {
            Ok(flag) => flag,
            Err((kind, msg)) => {
                self.problem(kind, name, msg.to_owned(), value, None);
                default
            }
        }
    }

    /// An object that may be absent or null.
    pub(super) fn optional_object(&mut self, name: &'static str) -> Option<Map<String, Value>> {
        match self.value(name)? {
            Value::Null => None,
            Value::Object(object) => Some(object),
            value @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                let msg = "Input should be a valid dictionary".to_owned();
                self.problem("dict_type", name, msg, value, None);
                None
            }
        }
    }

    /// The protocol that the agent offers, which v1 does not know and so never complains about.
    pub(super) fn protocol(&self) -> Option<u64> {
        self.object.get("protocol")?.as_u64()
    }

    /// A copy of a field's value: the original is shown if another field is missing.
    fn value(&self, name: &str) -> Option<Value> {
        self.object.get(name).cloned()
    }

    fn missing<T>(&mut self, name: &'static str) -> Option<T> {
        let input = Value::Object(self.object.clone());
        self.problem("missing", name, "Field required".to_owned(), input, None);
        None
    }

    fn check_text(&mut self, name: &'static str, rule: TextRule, value: Value) -> Option<String> {
        let Value::String(text) = value else {
            let msg = "Input should be a valid string".to_owned();
            self.problem("string_type", name, msg, value, None);
            return None;
        };
        match text_problem(&text, rule) {
            None => Some(text),
            Some((kind, msg, ctx)) => {
                self.problem(kind, name, msg, Value::String(text), Some(ctx));
                None
            }
        }
    }

    fn check_integer(
        &mut self,
        name: &'static str,
        rule: IntegerRule,
        value: Value,
    ) -> Option<i64> {
        let number = match read_integer(&value) {
            Ok(number) => number,
            Err((kind, msg)) => {
                self.problem(kind, name, msg.to_owned(), value, None);
                return None;
            }
        };
        let outside = if number < rule.ge {
            Some(("greater_than_equal", "greater", "ge", rule.ge))
        } else {
            rule.le.filter(|le| number > *le).map(|le| ("less_than_equal", "less", "le", le))
        };
        let Some((kind, direction, key, bound)) = outside else { return Some(number) };
        let msg = format!("Input should be {direction} than or equal to {bound}");
        self.problem(kind, name, msg, value, Some(json!({ key: bound })));
        None
    }

    fn problem(
        &mut self,
        kind: &'static str,
        name: &'static str,
        msg: String,
        input: Value,
        ctx: Option<Value>,
    ) {
        let loc = vec![json!("body"), json!(name)];
        self.problems.push(Problem { kind, loc, msg, input, ctx });
    }
}

/// A v1 dashboard reads a body without a content type as JSON, and one with any other as bytes.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return true };
    let essence = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

fn read_json(body: &Bytes) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::UnreadableBody)?;
    serde_json::from_str(text).map_err(|_| {
        let mistake = json_text::first_mistake(text);
        ApiError::Invalid(vec![Problem {
            kind: "json_invalid",
            loc: vec![json!("body"), json!(mistake.position)],
            msg: "JSON decode error".to_owned(),
            input: json!({}),
            ctx: Some(json!({ "error": mistake.message })),
        }])
    })
}

fn missing_body() -> ApiError {
    ApiError::Invalid(vec![Problem {
        kind: "missing",
        loc: vec![json!("body")],
        msg: "Field required".to_owned(),
        input: Value::Null,
        ctx: None,
    }])
}

fn text_problem(text: &str, rule: TextRule) -> Option<(&'static str, String, Value)> {
    let length = text.chars().count();
    if length < rule.min {
        let msg = format!("String should have at least {}", characters(rule.min));
        return Some(("string_too_short", msg, json!({ "min_length": rule.min })));
    }
    if let Some(max) = rule.max.filter(|max| length > *max) {
        let msg = format!("String should have at most {}", characters(max));
        return Some(("string_too_long", msg, json!({ "max_length": max })));
    }
    match rule.check {
        Check::Pattern(pattern, matches) if !matches(text) => {
            let msg = format!("String should match pattern '{pattern}'");
            Some(("string_pattern_mismatch", msg, json!({ "pattern": pattern })))
        }
        Check::Format(message, fits) if !fits(text) => {
            Some(("value_error", format!("Value error, {message}"), json!({ "error": {} })))
        }
        Check::Nothing | Check::Pattern(..) | Check::Format(..) => None,
    }
}

fn characters(count: usize) -> String {
    if count == 1 { "1 character".to_owned() } else { format!("{count} characters") }
}

/// The type of a problem and its words.
type Wrong = (&'static str, &'static str);

const NOT_AN_INTEGER: Wrong = ("int_type", "Input should be a valid integer");
const FRACTION: Wrong =
    ("int_from_float", "Input should be a valid integer, got a number with a fractional part");
const TOO_LARGE: Wrong =
    ("int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size");
const UNPARSABLE: Wrong =
    ("int_parsing", "Input should be a valid integer, unable to parse string as an integer");
const NOT_A_FLAG: Wrong = ("bool_type", "Input should be a valid boolean");
const UNCLEAR_FLAG: Wrong =
    ("bool_parsing", "Input should be a valid boolean, unable to interpret input");

/// An integer as a v1 dashboard reads it: also from text, from a truth value, and from a number without a fraction.
fn read_integer(value: &Value) -> Result<i64, Wrong> {
    match value {
        Value::Bool(flag) => Ok(i64::from(*flag)),
        Value::String(text) => integer_from_text(text).ok_or(UNPARSABLE),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Ok(integer),
            (None, _) if number.is_u64() => Ok(i64::MAX),
            (None, Some(float)) => integer_from_float(float),
            (None, None) => Err(NOT_AN_INTEGER),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => Err(NOT_AN_INTEGER),
    }
}

/// Up to here every integer is exactly a float.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

fn integer_from_float(float: f64) -> Result<i64, Wrong> {
    if float.fract() != 0.0 {
        Err(FRACTION)
    } else if float.abs() > LARGEST_EXACT {
        Err(TOO_LARGE)
    } else {
        // By text, since a cast could also cut silently.
        format!("{float:.0}").parse().map_err(|_| TOO_LARGE)
    }
}

/// Digits with a sign, single underscores between them, and zeros after a point; too large a number becomes the largest.
fn integer_from_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = match digits.split_once('.') {
        Some((whole, zeros)) => {
            let are_zeros = !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0');
            are_zeros.then_some(whole)?
        }
        None => digits,
    };
    let groups_are_sound = digits
        .split('_')
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    groups_are_sound.then(|| {
        let magnitude = digits.replace('_', "").parse::<i64>().unwrap_or(i64::MAX);
        if is_negative { -magnitude } else { magnitude }
    })
}

/// A truth value as a v1 dashboard reads it.
fn read_flag(value: &Value) -> Result<bool, Wrong> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::Number(_) => match read_integer(value) {
            Ok(0) => Ok(false),
            Ok(1) => Ok(true),
            Ok(_) => Err(UNCLEAR_FLAG),
            Err(_) => Err(NOT_A_FLAG),
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "on" | "t" | "true" | "y" | "yes" => Ok(true),
            "0" | "off" | "f" | "false" | "n" | "no" => Ok(false),
            _ => Err(UNCLEAR_FLAG),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => Err(NOT_A_FLAG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_laxly() {
        for (value, expected) in [
            (json!(30), Ok(30)),
            (json!("30"), Ok(30)),
            (json!(" +3_0.00\n"), Ok(30)),
            (json!("-5"), Ok(-5)),
            (json!(2.0), Ok(2)),
            (json!(-0.0), Ok(0)),
            (json!(true), Ok(1)),
            (json!(u64::MAX), Ok(i64::MAX)),
            (json!("99999999999999999999999"), Ok(i64::MAX)),
            (json!(2.5), Err(FRACTION)),
            (json!(1e300), Err(TOO_LARGE)),
            (json!("2.5"), Err(UNPARSABLE)),
            (json!("1__0"), Err(UNPARSABLE)),
            (json!("30."), Err(UNPARSABLE)),
            (json!(""), Err(UNPARSABLE)),
            (json!("-"), Err(UNPARSABLE)),
            (json!(null), Err(NOT_AN_INTEGER)),
            (json!([]), Err(NOT_AN_INTEGER)),
        ] {
            assert_eq!(read_integer(&value), expected, "{value}");
        }
    }
}
